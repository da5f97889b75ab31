#!/usr/bin/env python3
"""Puts the same load through Signalbox and its peers, in turn on this machine, and prints what a request costs.

    make bench-peers                      all that can be had
    scripts/bench_peers.py --bin target/release --only signalbox,six,hyper --seconds 10

Load: wrk, 16 connections, a short prompt that is new every time, an upstream without latency that answers in 16 chunks. CPU is
that of the whole process tree of the gateway, divided by answers; the upstream and wrk are not counted. Peers run with
their defaults; Signalbox with keys, budgets, ledger, guard's pattern tier and exact cache on, the semantic tier off.
"""

import argparse
import contextlib
import os
import pathlib
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
CACHE = pathlib.Path(os.environ.get("SIGNALBOX_CACHE") or pathlib.Path.home() / ".cache/signalbox")
# Of 1.110.2 the extra `proxy` could not be installed: the package litellm-proxy that it asks for was not found.
LITELLM_VERSION = "1.106.12"
PORTKEY_VERSION = "1.15.2"
TENANT = "bench"
NO_KEY = "none-is-needed"
TICKS = os.sysconf("SC_CLK_TCK")
SERVICES = ("guard", "cache", "router", "executor", "metering")

SCRIPT = """
local thread = 0
function setup(t) t:set("id", thread); thread = thread + 1 end
local count = 0
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer %(key)s"
%(headers)s
request = function()
  count = count + 1
  local text = "Question " .. id .. "-" .. count .. "-%(run)s: why is the sky blue?"
  return wrk.format(nil, "%(path)s", nil, '{"model":"%(model)s","stream":%(stream)s,"messages":[{"role":"user","content":"' .. text .. '"}]}')
end
local bad = 0
response = function(status) if status ~= 200 then bad = bad + 1 end end
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(pid: int):
    """A process and all below it."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found, more = {pid}, True
    while more:
        more = {child for child, parent in parents.items() if parent in found} - found
        found |= more
    return found


def usage(pids):
    """Seconds of CPU and resident mebibytes of process trees."""
    cpu = memory = 0
    for pid in set().union(*(tree(pid) for pid in pids)):
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            cpu += int(fields[11]) + int(fields[12])
            memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return cpu / TICKS, memory / 2**20


class World:
    """Processes that end with the run."""

    def __init__(self, arguments, folder):
        self.bin, self.folder, self.log = arguments.bin, folder, open(folder / "log", "wb")
        self.running, self.admin = [], f"sb_admin_{secrets.token_hex(16)}"
        self.upstream = free_port()
        self.start([self.bin / "signalbox", "provider-sim", "--listen", f"127.0.0.1:{self.upstream}"])
        self.wait(self.upstream)

    def start(self, command, **more):
        child = subprocess.Popen(
            [str(part) for part in command], stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, cwd=self.folder,
            start_new_session=True, **more,
        )
        self.running.append(child)
        return child.pid

    def wait(self, port, seconds=90):
        for _ in range(seconds * 10):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.1)
        raise RuntimeError("it does not listen")

    def end(self, keep=0):
        for child in self.running[keep:]:
            child.terminate()
        for child in self.running[keep:]:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
        del self.running[keep:]


def config(world) -> str:
    return (
        f'[models."sim-bench"]\ntargets = [{{ base_url = "http://127.0.0.1:{world.upstream}/v1", model = "sim-bench", '
        'provider = "sim", price = { input_usd_per_mtok = "1", output_usd_per_mtok = "2" } }]\n'
        f'[tenants.{TENANT}]\nbudgets = [{{ limit_usd = "1000000", period = "total" }}]\n'
        "[cache.semantic]\nenabled = false\n[guard]\nlearned = false\n"
    )


def key(world, port) -> str:
    """Makes a key of the tenant that has a budget."""
    world.wait(port)
    command = [world.bin / "signalbox", "keys", "create", "--server", f"http://127.0.0.1:{port}", "--tenant", TENANT]
    command += ["--name", "bench-peers", "--json"]
    made = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True, env=environment(world))
    found = re.search(r"sb_\w+_\w+", made.stdout)
    if not found:
        raise RuntimeError("no key was made")
    return found[0]


def environment(world):
    return {**os.environ, "SIGNALBOX_ADMIN_KEY": world.admin, "SIGNALBOX_KEY": world.admin}


def signalbox(world, port):
    path = world.folder / "one.toml"
    path.write_text(config(world))
    command = [world.bin / "signalbox", "up", "--config", path, "--listen", f"127.0.0.1:{port}", "--data-dir", "one"]
    pids = [world.start(command, env=environment(world))]
    return pids, "sim-bench", "", key(world, port)


def six(world, port):
    path, peers, pids = world.folder / "six.toml", "[gateway.peers]\n", []
    path.write_text(config(world))
    for name in SERVICES:
        at = free_port()
        command = [world.bin / f"signalbox-{name}", "--config", path, "--listen", f"127.0.0.1:{at}"]
        pids.append(world.start([*command, "--data-dir", name], env=environment(world)))
        world.wait(at)
        peers += f'{name} = ["http://127.0.0.1:{at}"]\n'
    (world.folder / "gateway.toml").write_text(config(world) + peers)
    command = [world.bin / "signalbox-gateway", "--config", world.folder / "gateway.toml", "--data-dir", "gateway"]
    pids.append(world.start([*command, "--listen", f"127.0.0.1:{port}"], env=environment(world)))
    return pids, "sim-bench", "", key(world, port)


def hyper(world, port):
    command = [world.bin / "examples/reverse_proxy", f"127.0.0.1:{port}", f"127.0.0.1:{world.upstream}"]
    return [world.start(command)], "sim-bench", "", NO_KEY


def litellm(world, port):
    venv = CACHE / "peers/litellm"
    if not (venv / "bin/litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "--quiet", f"litellm[proxy]=={LITELLM_VERSION}"], check=True)
    (world.folder / "litellm.yaml").write_text(
        "model_list:\n  - model_name: sim-bench\n    litellm_params:\n      model: openai/sim-bench\n"
        f"      api_base: http://127.0.0.1:{world.upstream}/v1\n      api_key: none\n"
    )
    command = [venv / "bin/litellm", "--config", "litellm.yaml", "--port", port, "--host", "127.0.0.1", "--telemetry", "False"]
    # It asks nobody for prices, and starts without a key of its own.
    settings = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    return [world.start(command, env={**os.environ, **settings})], "sim-bench", "", NO_KEY


def portkey(world, port):
    folder = CACHE / "peers/portkey"
    if not (folder / "node_modules/@portkey-ai/gateway").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", f"@portkey-ai/gateway@{PORTKEY_VERSION}"], check=True)
    server = folder / "node_modules/@portkey-ai/gateway/build/start-server.js"
    headers = (
        'wrk.headers["x-portkey-provider"] = "openai"\n'
        f'wrk.headers["x-portkey-custom-host"] = "http://127.0.0.1:{world.upstream}/v1"'
    )
    return [world.start(["node", server, f"--port={port}", "--headless"])], "sim-bench", headers, NO_KEY


PEERS = {
    "signalbox": ("Signalbox, one process", signalbox),
    "six": ("Signalbox, six processes", six),
    "litellm": (f"LiteLLM proxy {LITELLM_VERSION}", litellm),
    "portkey": (f"Portkey gateway {PORTKEY_VERSION}", portkey),
    "hyper": ("bare hyper reverse proxy", hyper),
}


def wrk(world, port, model, headers, credential, stream, seconds, run):
    path = world.folder / "load.lua"
    told = {"path": "/v1/chat/completions", "model": model, "stream": str(stream).lower(), "headers": headers}
    # No load asks what another has asked: a cache would answer.
    told |= {"key": credential, "run": f"{run}-{stream}"}
    path.write_text(SCRIPT % told)
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", "-s", path, f"http://127.0.0.1:{port}"]
    said = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in", said)
    median = re.search(r"^\s+50%\s+(\S+)", said, re.MULTILINE)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return int(found[1]), median[1] if median else "-", int(bad[1]) if bad else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="where the optimised programs are")
    parser.add_argument("--only", default=",".join(PEERS), help="which of: " + ", ".join(PEERS))
    parser.add_argument("--seconds", type=int, default=10, help="how long each load runs, after a third of it as warm-up")
    arguments = parser.parse_args()
    arguments.bin = arguments.bin.resolve()
    if not shutil.which("wrk"):
        sys.exit("no wrk: install it (Debian, Ubuntu: wrk; macOS: brew install wrk)")
    print(f"{'':28}{'answer':>10}{'per second':>12}{'CPU each':>12}{'median':>10}{'memory':>10}{'failed':>8}")
    with tempfile.TemporaryDirectory() as folder:
        world = World(arguments, pathlib.Path(folder))
        try:
            for name in arguments.only.split(","):
                label, start = PEERS[name]
                port = free_port()
                try:
                    pids, *how = start(world, port)
                    world.wait(port)
                except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                    print(f"{label:28}SKIPPED: {error}")
                    world.end(keep=1)
                    continue
                for stream in (False, True):
                    wrk(world, port, *how, stream, max(1, arguments.seconds // 3), "warm")
                    before, _ = usage(pids)
                    count, median, bad = wrk(world, port, *how, stream, arguments.seconds, "run")
                    after, memory = usage(pids)
                    answer = "16 chunks" if stream else "whole"
                    if bad >= count:
                        print(f"{label:28}{answer:>10}  FAILED: none of {count} requests was answered", flush=True)
                        continue
                    cost = (after - before) * 1000 / (count - bad)
                    rate = count / arguments.seconds
                    print(f"{label:28}{answer:>10}{rate:>12.0f}{cost:>9.3f} ms{median:>10}{memory:>7.0f} M{bad:>8}", flush=True)
                world.end(keep=1)
        finally:
            world.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
