#!/usr/bin/env bash
# Known vulnerabilities and yanked versions among what is linked in: cargo-deny with RustSec's database, where that can be reached.

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
cd "$ROOT"

DENY=$CACHE/supply/cargo-deny
[ -x "$DENY" ] || { echo "SKIPPED: advisories: no cargo-deny; scripts/setup.sh supply"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }
# Fetching apart, so that an unreachable database and a finding cannot be taken for each other.
if ! "$DENY" --locked --all-features fetch db >/dev/null 2>&1; then
  echo "SKIPPED: advisories: the database of RustSec cannot be reached from here"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
"$DENY" --locked --all-features check --hide-inclusion-graph advisories
echo "1 passed, 0 failed, 0 skipped"
