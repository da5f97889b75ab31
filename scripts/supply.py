#!/usr/bin/env python3
"""Checks what goes into the binaries, with nothing but Python and cargo: scripts/supply.py

Every locked crate comes from crates.io and has a checksum; no manifest names a git dependency; members take their versions from
the workspace; the toolchain is pinned to a patch release, the same everywhere; what other registries bring is pinned, by hash where it
is run; every licence is on the list of deny.toml. cargo-deny checks the same and more where it is set up (scripts/lint.sh).
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"
PACKAGE = re.compile(r"^\[\[package\]\]\n(.*?)(?=^\[|\Z)", re.M | re.S)
FIELD = re.compile(r'^(name|version|source|checksum) = "(.*)"$', re.M)
TOKEN = re.compile(r"[()]|[^\s()/]+|/")


def locked_crates(path):
    """Gives the fields of each package in a Cargo.lock."""
    return [dict(FIELD.findall(block)) for block in PACKAGE.findall(path.read_text(encoding="utf-8"))]


def sources(path):
    """Names each locked crate that is neither ours nor crates.io's, or has no checksum."""
    for crate in locked_crates(path):
        if "source" not in crate:
            continue
        label = f"{path.relative_to(ROOT)}: {crate['name']} {crate['version']}"
        if crate["source"] != REGISTRY:
            yield f"{label} comes from {crate['source']}; publish it, or take another"
        elif not re.fullmatch(r"[0-9a-f]{64}", crate.get("checksum", "")):
            yield f"{label} has no checksum; run cargo generate-lockfile"


def manifests():
    """Names each dependency from git, and each version that a member gives for itself."""
    for path in sorted(ROOT.glob("**/Cargo.toml")):
        inside = path.relative_to(ROOT)
        if "target" in inside.parts or "node_modules" in inside.parts:
            continue
        section = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("["):
                section = line.strip("[]")
            if re.search(r"\bgit\s*=", line.split("#")[0]) and "dependencies" in section:
                yield f"{inside}:{number}: a git dependency; take a published version"
            own = re.match(r'[\w-]+\s*=\s*("|\{[^}]*\bversion\b)', line)
            if own and section.endswith("dependencies") and inside.parts[0] in ("libs", "services", "tests"):
                yield f"{inside}:{number}: a version beside the workspace's; move it to [workspace.dependencies]"


def toolchain():
    """Names places that do not agree on the compiler."""
    channel = re.search(r'^channel = "(.*)"$', (ROOT / "rust-toolchain.toml").read_text(), re.M)[1]
    if not re.fullmatch(r"\d+\.\d+\.\d+", channel):
        yield f"rust-toolchain.toml: the channel {channel} is no patch release"
    least = re.search(r'^rust-version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    if not channel.startswith(least + "."):
        yield f"Cargo.toml: rust-version {least} and rust-toolchain.toml {channel} differ"
    dockerfile = ROOT / "Dockerfile"
    if dockerfile.exists():
        image = re.search(r"^ARG RUST_VERSION=(.*)$", dockerfile.read_text(), re.M)
        if not image or image[1] != channel:
            yield f"Dockerfile: RUST_VERSION is not {channel}"


def parts():
    """Names what is fetched from other registries without an exact version, or run without a hash."""
    pinned = {"scripts/parts.lock": "--hash=sha256:", "scripts/requirements.txt": "==", "scripts/chart.txt": "=="}
    for file, mark in pinned.items():
        for number, line in enumerate((ROOT / file).read_text(encoding="utf-8").splitlines(), 1):
            if line and not line.startswith("#") and not ("==" in line and mark in line):
                yield f"{file}:{number}: not pinned ({mark})"
    dockerfile = ROOT / "Dockerfile"
    if dockerfile.exists():
        stages = {name for name in re.findall(r"^FROM .* AS (\S+)$", dockerfile.read_text(), re.M)}
        for image in re.findall(r"^FROM (\S+)", dockerfile.read_text(), re.M):
            if image not in stages and image != "scratch" and "$" not in image and (":" not in image or image.endswith(":latest")):
                yield f"Dockerfile: {image} names no version"


def policy():
    """Gives the licences that deny.toml allows, and those of single crates."""
    text = (ROOT / "deny.toml").read_text(encoding="utf-8")
    allowed = set(re.findall(r'"([^"]+)"', re.search(r"^allow = \[(.*?)^\]", text, re.M | re.S)[1]))
    exceptions = {name: set(re.findall(r'"([^"]+)"', some))
                  for name, some in re.findall(r'crate = "([^"]+)", allow = \[(.*?)\]', text)}
    clarified = dict(re.findall(r'^crate = "([^"]+)"\nexpression = "([^"]+)"', text, re.M))
    return allowed, exceptions, clarified


def permits(expression, allowed):
    """Whether an SPDX expression can be met with the allowed licences; an old "/" means OR."""
    tokens = TOKEN.findall(expression)
    at = 0

    def factor():
        nonlocal at
        token = tokens[at]
        at += 1
        if token == "(":
            inner = either()
            at += 1
            return inner
        if tokens[at:at + 1] == ["WITH"]:
            token, at = f"{token} WITH {tokens[at + 1]}", at + 2
        return token in allowed

    def both():
        nonlocal at
        met = factor()
        while tokens[at:at + 1] == ["AND"]:
            at += 1
            met = factor() and met
        return met

    def either():
        nonlocal at
        met = both()
        while tokens[at:at + 1] in (["OR"], ["/"]):
            at += 1
            met = both() or met
        return met

    return either()


def metadata(*arguments):
    """Gives what cargo knows about the workspace for this machine."""
    host = re.search(r"^host: (.*)$", subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True, cwd=ROOT).stdout, re.M)[1]
    run = subprocess.run(["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host, *arguments],
                         check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(run.stdout)


def licences():
    """Names crates, as far as this machine builds them, whose licence is not allowed."""
    allowed, exceptions, clarified = policy()
    for crate in metadata()["packages"]:
        name = crate["name"]
        expression = clarified.get(name) or crate["license"]
        if not expression:
            yield f"{name} {crate['version']} names no licence; read it, and write what it is into deny.toml"
        elif not permits(expression, allowed | exceptions.get(name, set())):
            yield f"{name} {crate['version']} is under {expression}, which deny.toml does not allow"


def main():
    problems = []
    for lock in ("Cargo.lock", "fuzz/Cargo.lock"):
        problems += sources(ROOT / lock)
    for check in (manifests, toolchain, parts, licences):
        problems += check()
    for problem in problems:
        print(f"error: {problem}")
    if problems:
        sys.exit(1)
    print(f"   {len(locked_crates(ROOT / 'Cargo.lock'))} crates: sources, checksums, versions and licences are in order")


if __name__ == "__main__":
    main()
