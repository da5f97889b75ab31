#!/usr/bin/env bash
# The property tests of parsers, streams and budgets, with many more cases than every change can afford.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PROPTEST_CASES=${PROPTEST_CASES:-5000} exec cargo test -p signalbox-wire -p signalbox-executor -p signalbox-guard -p signalbox-mesh -p signalbox-testkit
