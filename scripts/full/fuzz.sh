#!/usr/bin/env bash
# Every fuzz target for FUZZ_SECONDS (60) each; `scripts/full/fuzz.sh NAME…` runs some. What a target finds is left in fuzz/artifacts.

source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
cd "$ROOT/fuzz"

# Sanitizers need a nightly compiler, whichever is there; the tree's own toolchain file must not decide.
if ! have rustup || ! rustup toolchain list | grep -q '^nightly'; then
  echo "SKIPPED: fuzz: no nightly toolchain (rustup toolchain install nightly)"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  echo "SKIPPED: fuzz: no cargo-fuzz (cargo install cargo-fuzz)"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi

TARGETS=("$@")
if [ $# -eq 0 ]; then
  while read -r name; do TARGETS+=("$name"); done < <(cargo +nightly fuzz list --fuzz-dir .)
fi
say "Building ${#TARGETS[@]} fuzz targets"
cargo +nightly fuzz build --fuzz-dir . --target-dir "$CARGO_TARGET_DIR/fuzz"

# What was just built, as `cargo fuzz run` would run it, but without looking for changes in between.
BUILT=$CARGO_TARGET_DIR/fuzz/$(rustc +nightly -vV | sed -n 's/^host: //p')/release
export ASAN_OPTIONS=detect_odr_violation=0

passed=0 failed=0
for target in "${TARGETS[@]}"; do
  mkdir -p "corpus/$target"
  # What the fuzzer learns stays in corpus/; seeds/ is read only.
  folders=("corpus/$target")
  [ ! -d "seeds/$target" ] || folders+=("seeds/$target")
  mkdir -p "artifacts/$target"
  if "$BUILT/$target" "${folders[@]}" -artifact_prefix="artifacts/$target/" \
    -max_total_time="${FUZZ_SECONDS:-60}" -max_len=8192 -rss_limit_mb=1024 -malloc_limit_mb=256 -timeout=10 \
    -verbosity=0 -print_final_stats=1; then
    passed=$((passed + 1))
  else
    echo "error: $target: see fuzz/artifacts/$target"
    failed=$((failed + 1))
  fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
