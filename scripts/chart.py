#!/usr/bin/env python3
"""Checks and documents the Helm chart: scripts/chart.py check | docs | render FOLDER

check   lints strictly, renders every set of values in helm/signalbox/ci, validates it for three versions of Kubernetes, holds it to what
        the chart promises (star, no root, one replica where state is embedded …), and sees that wrong values are refused in words
docs    writes helm/signalbox/README.md from the comments in values.yaml
render  lays each set's manifests and configuration file into FOLDER

Needs `scripts/setup.sh helm`. The last line of check counts as a test suite's does.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("SIGNALBOX_CACHE") or pathlib.Path.home() / ".cache/signalbox")
sys.path.insert(0, str(CACHE / "helm/python"))

import kubernetes_validate  # noqa: E402
import yaml  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "helm/signalbox"
SETS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
VERSIONS = ["1.29", "1.33", "1.37"]
# Kinds of others, which no schema of Kubernetes knows.
FOREIGN = {"ServiceMonitor", "Certificate"}
SERVICES = ["guard", "cache", "router", "executor", "metering", "gateway"]
RELEASE, NAMESPACE = "rel", "mesh"

# Values that must be refused, over a set, with words of the refusal.
REFUSED = [
    ("default", ["services.gaurd.enabled=true"], "gaurd"),
    ("default", ["services.guard.replica=2"], "replica"),
    ("default", ["backends.mode=postgres"], "backends"),
    ("default", ["config.modles.a.targets=null"], "modles"),
    ("default", ["backends.mode=shared"], "exactly one of redis.url and redis.secret.name"),
    ("tls", ["redis.url=redis://:secret@redis:6379"], "holds a password"),
    ("default", ["services.metering.replicas=2"], "services.metering keeps its state embedded"),
    ("default", ["services.cache.autoscaling.enabled=true"], "services.cache keeps its state embedded"),
    ("default", ["services.guard.replicas=2"], "secrets.sealKeys.name"),
    ("default", ["discovery.by=consul"], "consul.address"),
    ("default", ["tls.certManager.enabled=true"], "set tls.enabled"),
    ("tls", ["tls.certManager.issuerRef.name="], "issuerRef.name"),
    ("part", ["tls.secretName=one-for-all"], "SERVICE"),
    ("part", ["services.guard.peers=null"], "services.guard.peers"),
    ("shared", ["services.gateway.autoscaling.minReplicas=99"], "minReplicas is above maxReplicas"),
    ("shared", ["services.guard.autoscaling.cpuPercent=0"], "looks at nothing"),
]


def helm(*arguments):
    """Runs helm; gives its status and what it printed."""
    run = subprocess.run([str(CACHE / "helm/helm"), *arguments], capture_output=True, text=True, cwd=ROOT)
    return run.returncode, run.stdout, run.stderr


def render(name, *settings):
    """Renders a set of values."""
    sets = [argument for setting in settings for argument in ("--set", setting)]
    return helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", str(CHART / f"ci/{name}-values.yaml"), *sets)


def objects(name):
    """Gives a set's objects by kind and the service's name."""
    status, out, error = render(name)
    if status:
        raise ValueError(f"helm template: {error.strip()}")
    found = [document for document in yaml.safe_load_all(out) if document]
    by_kind = {}
    for document in found:
        component = document["metadata"]["labels"]["app.kubernetes.io/component"]
        by_kind.setdefault(document["kind"], {}).setdefault(component, []).append(document)
    return found, by_kind


def values_of(name):
    """Gives a set's values over the chart's."""
    def over(base, top):
        return {key: over(base.get(key, {}), value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
                for key, value in {**base, **top}.items()}
    values = over(load("values.yaml"), load(f"ci/{name}-values.yaml"))
    values["services"] = {service: over(values["defaults"], own) for service, own in values["services"].items()}
    return values


def load(path):
    return yaml.safe_load((CHART / path).read_text(encoding="utf-8"))


def workload(by_kind, service):
    """Gives a service's Deployment or StatefulSet."""
    found = by_kind.get("Deployment", {}).get(service, []) + by_kind.get("StatefulSet", {}).get(service, [])
    assert len(found) <= 1, f"{service} runs twice"
    return found[0] if found else None


def hardened(by_kind, values):
    """No root, nothing writable but volumes, no capability, no token."""
    for service in SERVICES:
        found = workload(by_kind, service)
        assert (found is not None) == values["services"][service]["enabled"], f"{service}: switched wrongly"
        if not found:
            continue
        pod = found["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0, service
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", service
        assert pod["automountServiceAccountToken"] is False, service
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and context["allowPrivilegeEscalation"] is False, service
            assert context["capabilities"]["drop"] == ["ALL"], service
            assert container["resources"]["limits"]["memory"] and container["resources"]["requests"]["cpu"], service
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container), service
        assert pod["terminationGracePeriodSeconds"] > 30, f"{service}: drains take up to 30 s"
        assert pod.get("topologySpreadConstraints"), f"{service} is not spread"


def stateful(by_kind, values):
    """State has one owner and a volume; what is scaled has neither fixed number nor bounds the wrong way round."""
    embedded = values["backends"]["mode"] == "embedded"
    for service, own in values["services"].items():
        found = workload(by_kind, service)
        if not found:
            continue
        single = embedded and service in ("cache", "metering")
        volume = own["persistence"]["enabled"] and (single or service == "gateway")
        assert found["kind"] == ("StatefulSet" if volume else "Deployment"), f"{service} is a {found['kind']}"
        scaled = service in by_kind.get("HorizontalPodAutoscaler", {})
        assert scaled == (own["autoscaling"]["enabled"] and not single), f"{service}: scaled {scaled}"
        assert ("replicas" in found["spec"]) != scaled, f"{service}: replicas and an autoscaler"
        if single:
            assert found["spec"]["replicas"] == 1, f"{service} has state and {found['spec']['replicas']} replicas"
        if volume:
            claims = [claim["metadata"]["name"] for claim in found["spec"]["volumeClaimTemplates"]]
            assert claims == ["state"], claims
            governing = found["spec"]["serviceName"]
            services = [item for item in by_kind["Service"][service] if item["metadata"]["name"] == governing]
            assert services and services[0]["spec"]["clusterIP"] == "None", f"{service}: {governing} is no headless Service"


def star(by_kind, values):
    """Only the gateway reaches the others, and it alone is reached by clients."""
    policies = by_kind.get("NetworkPolicy", {})
    if not values["networkPolicy"]["enabled"]:
        assert not policies
        return
    for service in SERVICES:
        if not values["services"][service]["enabled"]:
            continue
        spec = policies[service][0]["spec"]
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        for rule in spec["ingress"]:
            if [port["port"] for port in rule["ports"]] != ["grpc"] or service == "gateway":
                continue
            peers = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in rule["from"] if "podSelector" in peer]
            assert peers == ["gateway"], f"{service} lets {peers} in"
            assert len(rule["from"]) == 1 or values["discovery"]["by"] == "consul", f"{service}: {rule['from']}"
        out = [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
               for rule in spec["egress"] for peer in rule.get("to", []) if "podSelector" in peer]
        others = [name for name in SERVICES[:5] if values["services"][name]["enabled"]]
        assert out == (others if service == "gateway" else []), f"{service} reaches {out}"
        internet = any("ipBlock" in peer for rule in spec["egress"] for peer in rule.get("to", []))
        assert internet == (service in ("executor", "metering")), f"{service}: internet {internet}"


def found_again(by_kind, values):
    """Services are headless and select the pods that they are named for; budgets and monitors do too."""
    for service in SERVICES:
        found = workload(by_kind, service)
        if not found:
            continue
        labels = found["spec"]["template"]["metadata"]["labels"]
        picks = [item["spec"]["selector"] for item in by_kind["Service"][service]]
        picks += [item["spec"]["selector"]["matchLabels"] for item in by_kind.get("PodDisruptionBudget", {}).get(service, [])]
        picks += [item["spec"]["podSelector"]["matchLabels"] for item in by_kind.get("NetworkPolicy", {}).get(service, [])]
        picks.append(found["spec"]["selector"]["matchLabels"])
        for pick in picks:
            assert pick.items() <= labels.items(), f"{service}: {pick} does not select its pods"
            assert pick["app.kubernetes.io/component"] == service
        headless = [item for item in by_kind["Service"][service] if item["spec"].get("clusterIP") == "None"]
        assert len(headless) == 1, f"{service} has no headless Service"
        for monitor in by_kind.get("ServiceMonitor", {}).get(service, []):
            chosen = [item for item in by_kind["Service"][service]
                      if monitor["spec"]["selector"]["matchLabels"].items() <= item["metadata"]["labels"].items()]
            assert len(chosen) == 1, f"{service}: {len(chosen)} Services are monitored"
            assert any(port["name"] == "metrics" for port in chosen[0]["spec"]["ports"])
        assert (service in by_kind.get("PodDisruptionBudget", {})) == values["services"][service]["pdb"]["enabled"]


def by_reference(found, by_kind):
    """No Secret is made, and every file that the configuration names is mounted where it is read."""
    assert not any(item["kind"] == "Secret" for item in found), "a Secret is rendered"
    text = configuration(by_kind)
    readers = {"redis": ["cache", "router", "executor", "metering"], "qdrant": ["cache"], "cache": ["cache"], "seal": ["guard"],
               "admin": ["metering"], "door": ["gateway"], "tls": SERVICES, "otlp": SERVICES, "consul": SERVICES}
    named = set(re.findall(r'"/etc/signalbox/([a-z]+)/', text))
    for place in named:
        for service in readers[place]:
            if not (running := workload(by_kind, service)):
                continue
            pod = running["spec"]["template"]["spec"]
            mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
            assert f"/etc/signalbox/{place}" in mounts, f"{service} reads /etc/signalbox/{place}, which is not mounted"
    for service in SERVICES:
        if running := workload(by_kind, service):
            for mount in running["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]:
                place = mount["mountPath"].removeprefix("/etc/signalbox/")
                assert place not in readers or service in readers[place], f"{service} gets {place}, which it does not read"


def configuration(by_kind):
    """Gives the configuration file of a set."""
    return by_kind["ConfigMap"]["config"][0]["data"]["signalbox.toml"]


def valid(found, version):
    """Holds each object to Kubernetes' own schema, unknown fields refused."""
    for item in found:
        if item["kind"] in FOREIGN:
            continue
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise AssertionError(f"{item['kind']} {item['metadata']['name']}: {error.message[:200]}") from error


def lint(name):
    status, out, error = helm("lint", "--strict", str(CHART), "--values", str(CHART / f"ci/{name}-values.yaml"))
    assert status == 0, out + error


def refuses(name, settings, words):
    status, _, error = render(name, *settings)
    assert status, f"{settings} is accepted"
    assert words in error, f"{settings} is refused without '{words}': {error.strip()[:300]}"


def restarts():
    """Pods start anew for what running services cannot take over, and for nothing else unless that is asked for."""
    def checksums(*settings):
        status, out, error = render("shared", *settings)
        assert status == 0, error
        return set(re.findall(r"checksum/config: (\w+)", out))
    before = checksums()
    assert len(before) == 1, before
    assert checksums("config.tenants.acme.guard_policy=strict", "config.guard.policies.mine.learned=false") == before, "a restart for nothing"
    assert checksums("config.mesh.server.concurrency=9") != before, "no restart where one is needed"
    always = checksums("restarts=always")
    assert checksums("restarts=always", "config.tenants.acme.guard_policy=strict") != always, "no restart where it is asked for"


def documented():
    assert (CHART / "README.md").read_text(encoding="utf-8") == readme(), "helm/signalbox/README.md is not what `scripts/chart.py docs` writes"


def readme():
    """Gives the chart's README."""
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    rows, path, comment = [], [], []
    values = yaml.safe_load("\n".join(lines))
    for line in lines:
        text = line.strip()
        if text.startswith("# --"):
            comment = [text.removeprefix("# --").strip()]
        elif text.startswith("#") and comment:
            comment.append(text.removeprefix("#").strip())
        elif match := re.match(r"( *)([\w-]+):", line):
            path = path[:len(match[1]) // 2] + [match[2]]
            if comment:
                value = values
                for key in path:
                    value = value[key]
                shown = json.dumps(value, ensure_ascii=False).replace("|", "\\|")
                rows.append(f"| `{'.'.join(path)}` | `{shown}` | {' '.join(comment).replace('|', chr(92) + '|')} |")
            comment = []
        else:
            comment = []
    chart = load("Chart.yaml")
    return "\n".join([
        "# Signalbox's Helm chart", "",
        f"{chart['description']}. For Kubernetes {chart['kubeVersion'].split('-')[0].removeprefix('>=')} and newer.", "",
        "What to set first, and why, is in [`docs/deploy.md`](../../docs/deploy.md); sets of values that are tested are in [`ci/`](ci).", "",
        "```sh", "helm install signalbox helm/signalbox --namespace signalbox --create-namespace --values my-values.yaml", "```", "",
        "This table is made from the comments in `values.yaml` by `make chart-docs`.", "",
        "| value | default | |", "| --- | --- | --- |", *rows, ""])


def check():
    """Runs every check; gives how many passed and failed."""
    checks = [("docs", documented, ()), ("restarts", restarts, ())]
    for name in SETS:
        checks.append((f"{name}: lint --strict", lint, (name,)))
        try:
            found, by_kind = objects(name)
        except (ValueError, yaml.YAMLError) as error:
            checks.append((f"{name}: rendered", fault, (error,)))
            continue
        values = values_of(name)
        checks += [(f"{name}: Kubernetes {version}", valid, (found, version)) for version in VERSIONS]
        for promise in (hardened, stateful, star, found_again):
            checks.append((f"{name}: {promise.__name__}", promise, (by_kind, values)))
        checks.append((f"{name}: by_reference", by_reference, (found, by_kind)))
    checks += [(f"refused: {settings[0]}", refuses, (name, settings, words)) for name, settings, words in REFUSED]
    failed = 0
    for label, function, arguments in checks:
        try:
            function(*arguments)
        except (AssertionError, KeyError) as error:
            failed += 1
            print(f"FAILED {label}: {error!r}")
    return len(checks) - failed, failed


def fault(error):
    raise AssertionError(error)


def lay(folder):
    """Writes manifests and configuration files."""
    for name in SETS:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        status, out, error = render(name)
        if status:
            sys.exit(error)
        (place / "manifests.yaml").write_text(out, encoding="utf-8")
        (place / "signalbox.toml").write_text(configuration(objects(name)[1]), encoding="utf-8")


def main():
    match sys.argv[1:]:
        case ["check"]:
            passed, failed = check()
            print(f"{passed} passed, {failed} failed, 0 skipped")
            sys.exit(failed > 0)
        case ["docs"]:
            (CHART / "README.md").write_text(readme(), encoding="utf-8")
        case ["render", folder]:
            lay(pathlib.Path(folder))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
