#!/usr/bin/env bash
# The Helm chart: linted, rendered, validated for three versions of Kubernetes, and held to its promises (scripts/chart.py).

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

# setup.sh has said why, and has failed where that is not allowed.
[ -x "$CACHE/helm/helm" ] || { echo "SKIPPED: setup helm: helm is in no registry for this machine"; exit 0; }
python3 "$SCRIPTS/chart.py" check
