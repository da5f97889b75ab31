#!/usr/bin/env python3
"""Measures what one request costs each service, in CPU time, with the six as processes of their own.

    scripts/capacity.py FOLDER [--requests N]

FOLDER holds the binaries (`cargo build --profile profiling --workspace --bins`: target/profiling). Starts the provider simulator, a Redis, the five
services and a gateway on loopback, all sharing that Redis, drives them by `signalbox bench`, and prints microseconds of CPU a request by process and its
resident memory: what docs/capacity.md derives its figures from. CPU time hardly depends on what else runs.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

SERVICES = ["guard", "cache", "router", "executor", "metering", "gateway"]
CONFIG = """
[models.bench]
targets = [{{ base_url = "{provider}", model = "sim-bench", provider = "sim", price = {{ input_usd_per_mtok = "1", output_usd_per_mtok = "2" }} }}]
[redis]
url = "redis://127.0.0.1:{redis}"
[tenants.local]
budgets = [{{ limit_usd = "1000000", period = "day" }}, {{ limit_usd = "9000000", period = "month" }}]
limits = [{{ requests = 100000000, per = "minute" }}]
[cache.semantic]
enabled = false
[guard]
learned = false
"""


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class World:
    def __init__(self, binaries, folder):
        self.binaries, self.folder, self.processes = binaries, folder, {}

    def start(self, name, command, says=None):
        log = open(self.folder / f"{name}.log", "w")
        process = subprocess.Popen(command, stdout=subprocess.PIPE if says else log, stderr=log, text=True)
        self.processes[name] = process
        while says:
            line = process.stdout.readline()
            if not line:
                sys.exit(f"{name} ended: {(self.folder / f'{name}.log').read_text()}")
            if says in line:
                return line.split(says, 1)[1].split()[0]
        return None

    def end(self):
        for process in reversed(list(self.processes.values())):
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def measure(world, gateway, names, requests):
    """What a request costs each process, in microseconds of CPU, by the kind of its answer."""
    command = [world.binaries / "signalbox", "bench", "--server", gateway, "--model", "bench", "--load", "closed", "--json"]
    command += ["--requests", str(requests)]
    for name in names:
        command += ["--pid", str(world.processes[name].pid)]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stderr)
    costs = {}
    for run in json.loads(ended.stdout)["runs"]:
        if run["failed"]:
            sys.exit(f"{run['failed']} requests failed")
        by_process = run["cpu_us_per_request_by_process"]
        kind = f"{run['answer']}, {run['chunks_per_answer']:.0f}" if run["chunks_per_answer"] else run["answer"]
        costs[kind] = {name: by_process[f"pid {world.processes[name].pid}"] for name in names}
    return costs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=pathlib.Path)
    parser.add_argument("--requests", type=int, default=4000)
    arguments = parser.parse_args()
    cache = pathlib.Path(os.environ.get("SIGNALBOX_CACHE") or pathlib.Path.home() / ".cache" / "signalbox")
    redis = shutil.which("redis-server") or cache / "apt/usr/bin/redis-server"
    binaries = arguments.binaries.resolve()
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        world = World(binaries, folder)
        try:
            provider = world.start("provider", [binaries / "signalbox", "provider-sim", "--listen", "127.0.0.1:0"], "listening on ")
            port = 16390
            world.start("redis", [redis, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", place])
            (folder / "services.toml").write_text(CONFIG.format(provider=provider, redis=port))
            peers = []
            for name in SERVICES[:-1]:
                address = world.start(name, [binaries / f"signalbox-{name}", "--config", folder / "services.toml", "--listen", "127.0.0.1:0", "--data-dir", folder / name], "listening on http://")
                peers.append(f'{name} = ["{address}"]')
            (folder / "gateway.toml").write_text((folder / "services.toml").read_text() + "\n[gateway.peers]\n" + "\n".join(peers) + "\n")
            gateway = "http://" + world.start("gateway", [binaries / "signalbox-gateway", "--config", folder / "gateway.toml", "--listen", "127.0.0.1:0", "--data-dir", folder / "gateway"], "listening on http://")
            names = SERVICES + ["redis"]
            costs = measure(world, gateway, names, arguments.requests)
            print("CPU of a request, us" + "".join(f"{kind:>16}" for kind in costs) + "   memory, MiB")
            for name in names:
                memory = resident_mib(world.processes[name].pid)
                print(f"{name:20}" + "".join(f"{of[name]:16.0f}" for of in costs.values()) + f"{memory:14.0f}")
            sums = [sum(of[name] for name in SERVICES) for of in costs.values()]
            print(f"{'the six together':20}" + "".join(f"{total:16.0f}" for total in sums))
        finally:
            world.end()


main()
