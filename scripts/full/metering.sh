#!/usr/bin/env bash
# A thousand seeded runs of metering's backends with crashes, and many random sequences on which both must agree.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export SIGNALBOX_RUNS=${SIGNALBOX_RUNS:-1000} PROPTEST_CASES=${PROPTEST_CASES:-100}
exec cargo test -p signalbox-metering --lib contract
