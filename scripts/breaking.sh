#!/usr/bin/env bash
# Compares proto/ with main's last commit that this tree goes back to: a field that clients use may not vanish or change (buf breaking).
#
#   scripts/breaking.sh [COMMIT]     compares with that commit instead

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

skip() { printf 'SKIPPED: buf breaking: %s\n' "$1"; exit 0; }

[ -x "$CACHE/bin/buf" ] || skip "no buf; scripts/setup.sh buf"
have git && git rev-parse --git-dir >/dev/null 2>&1 || skip "no git history here"

base=${1:-}
if [ -z "$base" ]; then
  for main in origin/main main; do
    if git rev-parse --verify --quiet "$main^{commit}" >/dev/null; then break; fi
    main=
  done
  [ -n "$main" ] || skip "this clone has no branch main; git fetch origin main:refs/remotes/origin/main"
  base=$(git merge-base HEAD "$main") || skip "this clone is too shallow to reach main; git fetch --unshallow"
  # On main itself the last commit is what is checked.
  if [ "$base" = "$(git rev-parse HEAD)" ] && git diff --quiet HEAD -- proto; then
    base=$(git rev-parse --verify --quiet 'HEAD^') || skip "this clone holds one commit; git fetch --deepen 1"
  fi
fi

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
git archive "$base" proto buf.yaml | tar x -C "$before"
"$CACHE/bin/buf" breaking --against "$before"
note "proto/ breaks nothing of $(git log -1 --format='%h (%s)' "$base" | cut -c 1-90)"
