#!/usr/bin/env bash
# The Helm chart: linted, rendered, validated for three versions of Kubernetes, held to its promises (scripts/chart.py); and what it
# renders loaded in the real binaries, where they are built (scripts/chart_load.py).

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

# setup.sh has said why, and has failed where that is not allowed.
[ -x "$CACHE/helm/helm" ] || { echo "SKIPPED: setup helm: helm is in no registry for this machine"; exit 0; }
python3 "$SCRIPTS/chart.py" check
if [ -x "$CARGO_TARGET_DIR/debug/signalbox-gateway" ]; then
  python3 "$SCRIPTS/chart_load.py" "$CARGO_TARGET_DIR/debug"
else
  note "no binaries in $CARGO_TARGET_DIR/debug (cargo build --workspace --bins): what the chart renders is not loaded"
fi
