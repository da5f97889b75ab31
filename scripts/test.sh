#!/usr/bin/env bash
# Sets up, builds, runs all tests and counts them: scripts/test.sh [--full]
#
# The last line is "N passed, N failed, N skipped". A test that cannot run here prints a line that starts with SKIPPED:
# and returns; it counts as skipped, not as passed. With CI=true a skip that scripts/allowed-skips.txt does not allow
# is a failure. --full also runs scripts/full/*.sh.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

FULL=false
case "${1:-}" in '') ;; --full) FULL=true ;; *) fail "unknown argument $1; there is --full" ;; esac

RESULTS=$(mktemp -d)
trap 'rm -rf "$RESULTS"' EXIT
PASSED=0 FAILED=0

# Runs one suite, shows its output as scripts/count_tests.py lets it through, and adds its counts.
suite() { # NAME COMMAND...
  local name=$1 status=0 counts passed failed
  shift
  say "$name"
  rm -f "$RESULTS/counts"
  { "$@" 2>&1 </dev/null || echo $? >"$RESULTS/status"; } |
    python3 "$SCRIPTS/count_tests.py" "$RESULTS/counts" "$RESULTS/skips"
  if [ -f "$RESULTS/status" ]; then status=$(cat "$RESULTS/status"); rm "$RESULTS/status"; fi
  read -r passed failed <"$RESULTS/counts"
  # A build that fails, a crash: no test says so.
  if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    echo "error: $name ended with status $status though no test failed"
    failed=1
  fi
  PASSED=$((PASSED + passed))
  FAILED=$((FAILED + failed))
}

step "Setting up" "$SCRIPTS/setup.sh"
step "Building" cargo build --workspace --bins

: >"$RESULTS/skips"
begin=$SECONDS
suite "Rust tests" cargo test --workspace --no-fail-fast -- --show-output
suite "Helm chart" bash "$SCRIPTS/helm.sh"
if [ -f "$SCRIPTS/test_python.sh" ]; then suite "Python client" bash "$SCRIPTS/test_python.sh"; fi
if $FULL; then
  for script in "$SCRIPTS"/full/*.sh; do
    [ ! -f "$script" ] || suite "$(basename "$script" .sh)" bash "$script"
  done
fi
STEP_TIMES+=("$(printf '%5d s  %s' $((SECONDS - begin)) "Testing")")

SKIPPED=$(wc -l <"$RESULTS/skips" | tr -d ' ')
if [ "$SKIPPED" -gt 0 ]; then
  say "Skipped"
  while IFS= read -r skip; do
    if in_ci && ! skip_allowed "$skip"; then
      printf '   %s  <- not on scripts/allowed-skips.txt: a failure in CI\n' "$skip"
      FAILED=$((FAILED + 1)) SKIPPED=$((SKIPPED - 1))
    else
      printf '   %s\n' "$skip"
    fi
  done <"$RESULTS/skips"
fi
step_times
echo
echo "$PASSED passed, $FAILED failed, $SKIPPED skipped"
[ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
