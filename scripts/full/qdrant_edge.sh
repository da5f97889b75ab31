#!/usr/bin/env bash
# The cache with the embedded Qdrant engine, which fast builds leave out: its own tests, and the Qdrant client against the engine behind
# Qdrant's own gRPC. The engine's 200 crates are built without optimisation, ten minutes of processor time once.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
exec cargo --config 'profile.dev.package."*".opt-level=0' test -p signalbox-cache --features qdrant-edge --lib -- \
  --show-output vectors:: vector_stores config::
