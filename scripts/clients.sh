#!/usr/bin/env bash
# Generates the clients for Python and TypeScript from proto/, with the tools of `scripts/setup.sh python buf clients`.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"
export PATH=$CACHE/bin:$CACHE/venv/bin:$CACHE/clients/typescript:$PATH

[ -e clients/typescript/node_modules ] || ln -s "$CACHE/clients/typescript/node_modules" clients/typescript/node_modules
buf generate
node clients/typescript/node_modules/typescript/bin/tsc -p clients/typescript
say "Generated clients/python/signalbox and clients/typescript/dist"
