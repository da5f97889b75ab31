#!/usr/bin/env bash
# Checks everything that needs no test to run, what fails fastest first.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

lint_contracts() {
  if [ -x "$CACHE/bin/buf" ]; then
    "$CACHE/bin/buf" lint && note "proto/ is clean"
  else
    # setup.sh has said why, and has failed where that is not allowed.
    note "no buf: contracts not linted"
  fi
}

step "Setting up" "$SCRIPTS/setup.sh" rust-check buf helm supply
step "Formatting (cargo fmt)" cargo fmt --all --check
step "Contracts (buf lint)" lint_contracts
step "Contracts against main (buf breaking)" "$SCRIPTS/breaking.sh"
step "What is linked in (sources, licences, SBOM)" "$SCRIPTS/supply.sh"
step "Clippy, warnings denied" cargo clippy --workspace --all-targets -- -D warnings
step "Documentation, broken links denied" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
step_times
