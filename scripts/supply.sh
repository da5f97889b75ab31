#!/usr/bin/env bash
# Checks what goes into the binaries: sources, versions and licences, by scripts/supply.py anywhere and by cargo-deny where it is set up.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

python3 "$SCRIPTS/supply.py"
if [ -x "$CACHE/supply/cargo-deny" ]; then
  "$CACHE/supply/cargo-deny" --locked --all-features check --hide-inclusion-graph licenses bans sources
else
  # setup.sh has said why, and has failed where that is not allowed.
  note "no cargo-deny: bans not checked"
fi
# Against CycloneDX' schema, by the packages that the chart's checks have, too.
if [ -d "$CACHE/helm/python" ] && [ -d "$CACHE/supply" ]; then
  python3 "$SCRIPTS/sbom.py" "$CARGO_TARGET_DIR/sbom/signalbox.cdx.json" --check
fi
