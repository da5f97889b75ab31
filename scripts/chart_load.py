#!/usr/bin/env python3
"""Loads every configuration that the chart's sets of values render, and docker-compose.yml's, in the real binaries: chart_load.py BINARIES

For each set and service: the files that its pod mounts are laid, and no others; `signalbox config check` reads the configuration; the
binary starts with the container's arguments and environment, on free ports and beside a real Redis; and the pod's own probe command, or
`--health`, is answered. The last line counts as a test suite's does.
"""

import base64
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import chart

PATIENCE_S = 60
ETC = "/etc/signalbox"
KEY = base64.b64encode(bytes(range(32))).decode()
CONTENTS = {"admin-key": "sb_admin_0123456789abcdef0123", "seal-keys": KEY, "cache-keys": KEY, "token": "a-token", "headers": "x-team=mesh",
            "api-key": "an-api-key"}


# Installed, or as scripts/setup.sh unpacks it.
REDIS = shutil.which("redis-server") or str(chart.CACHE / "apt/usr/bin/redis-server")


class Redis:
    """A Redis on a free port; ends with the block."""

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.child = subprocess.Popen([REDIS, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                                      stdout=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert self.child.poll() is None and time.monotonic() < end, "redis-server does not start"

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()


def lay(pod, service, certs, redis, etc):
    """Lays what the pod mounts of Secrets."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        secret = volumes.get(mount["name"], {}).get("secret")
        if not secret:
            continue
        folder = etc / mount["mountPath"].removeprefix(ETC + "/")
        folder.mkdir(parents=True)
        if "items" in secret:
            for item in secret["items"]:
                content = f"redis://127.0.0.1:{redis.port}/0" if item["path"] == "url" else CONTENTS[item["path"]]
                (folder / item["path"]).write_text(content + "\n")
        else:
            for file, source in (("tls.crt", certs / service / "tls.crt"), ("tls.key", certs / service / "tls.key"), ("ca.crt", certs / "ca.crt")):
                shutil.copy(source, folder / file)


def environment(container, data):
    """The container's environment, as Kubernetes would fill it in."""
    given = {key: value for key, value in os.environ.items() if not key.startswith("SIGNALBOX__") and key != "SIGNALBOX_CONFIG"}
    known = {"POD_NAME": "pod-0", "POD_IP": "127.0.0.1"}
    for variable in container["env"]:
        name = variable["name"]
        value = variable.get("value", known.get(name, ""))
        known[name] = re.sub(r"\$\((\w+)\)", lambda match: known[match[1]], value)
    # Ports that are free here.
    if "SIGNALBOX__MESH__ADVERTISE" in known:
        known["SIGNALBOX__MESH__ADVERTISE"] = "127.0.0.1"
    return {**given, **known, "SIGNALBOX_DATA_DIR": str(data), "SIGNALBOX__TELEMETRY__METRICS_LISTEN": "127.0.0.1:0"}


def start(binaries, service, container, config, folder):
    """Starts the binary; gives the process and where it listens."""
    arguments = [str(config) if argument.startswith(ETC) else argument for argument in container["args"]]
    arguments[arguments.index("--data-dir") + 1] = str(folder / "data")
    command = [str(binaries / f"signalbox-{service}"), *arguments, "--listen", "127.0.0.1:0"]
    log = folder / "log"
    env = environment(container, folder / "data")
    child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log.open("w"), stderr=subprocess.STDOUT)
    end = time.monotonic() + PATIENCE_S
    while not (found := re.search(r"listening on https?://(\S+)", log.read_text())):
        if child.poll() is not None or time.monotonic() > end:
            child.kill()
            raise AssertionError(f"signalbox-{service} does not start: {log.read_text()[-600:]}")
        time.sleep(0.05)
    return child, found[1], [*command[:-1], found[1]], env


def load(name, binaries, redis, work):
    """Loads one set."""
    _, by_kind = chart.objects(name)
    rendered = re.sub(r"redis://[\w.-]+:6379", f"redis://127.0.0.1:{redis.port}", chart.configuration(by_kind))
    certs = work / "certs"
    if not certs.exists():
        subprocess.run([binaries / "signalbox", "certs", "init", "--dir", certs], check=True, stdout=subprocess.DEVNULL)
    children = []
    try:
        for service in chart.SERVICES:
            if not (workload := chart.workload(by_kind, service)):
                continue
            pod = workload["spec"]["template"]["spec"]
            folder = work / name / service
            etc = folder / "etc"
            etc.mkdir(parents=True)
            lay(pod, service, certs, redis, etc)
            config = folder / "signalbox.toml"
            config.write_text(rendered.replace(ETC, str(etc)))
            checked = subprocess.run([binaries / "signalbox", "config", "check", config], capture_output=True, text=True)
            assert checked.returncode == 0, checked.stderr
            container = pod["containers"][0]
            child, address, command, env = start(binaries, service, container, config, folder)
            children.append(child)
            if "tcpSocket" in container["readinessProbe"]:
                socket.create_connection(address.rsplit(":", 1), PATIENCE_S).close()
            else:
                asked = subprocess.run([*command, "--health"], env=env, capture_output=True, text=True)
                assert asked.returncode == 0, f"{service} --health: {asked.stderr}"
    finally:
        for child in children:
            child.kill()
            child.wait()


def composed(binaries):
    """Reads the composed mesh's configuration, and sees that each service has one and asks for its health."""
    checked = subprocess.run([binaries / "signalbox", "config", "check", chart.ROOT / "deploy/compose/signalbox.toml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    services = chart.yaml.safe_load((chart.ROOT / "docker-compose.yml").read_text())["services"]
    stages = (chart.ROOT / "Dockerfile").read_text().split("\nFROM ")
    for name in chart.SERVICES:
        service = services[name]
        assert service["read_only"] and service["cap_drop"] == ["ALL"], f"{name} may write or do what it need not"
        assert service["environment"]["SIGNALBOX_CONFIG"] == "/etc/signalbox/signalbox.toml", name
        stage = next(stage for stage in stages if re.match(rf"base\S* AS {name}\n", stage))
        assert 'HEALTHCHECK' in stage and f'CMD ["/usr/local/bin/signalbox-{name}", "--health"]' in stage, name
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published), published


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if not os.path.exists(REDIS):
        print("SKIPPED: rendered configurations: no redis-server; scripts/setup.sh redis")
        return
    binaries, failed = pathlib.Path(sys.argv[1]), 0
    with tempfile.TemporaryDirectory() as work, Redis() as redis:
        checks = [(name, lambda name=name: load(name, binaries, redis, pathlib.Path(work))) for name in chart.SETS]
        checks.append(("docker-compose.yml", lambda: composed(binaries)))
        for name, check in checks:
            try:
                check()
            except AssertionError as error:
                failed += 1
                print(f"FAILED {name}: loads in the binaries: {error}")
    print(f"{len(checks) - failed} passed, {failed} failed, 0 skipped")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
