#!/usr/bin/env bash
# Rolling restarts for longer: three rounds over twelve processes, with streams of ten seconds.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo build --workspace --bins
SIGNALBOX_LONG=1 exec cargo test --workspace --test it -- --show-output --test-threads 1 rolling::
