# shellcheck shell=bash
# Sourced by the other scripts: places, words and the skip rule. Works with bash 3.2 (macOS).

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SCRIPTS=$ROOT/scripts

# Tools, models and build products live outside the clone, so that clones share them.
CACHE=${SIGNALBOX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/signalbox}
export SIGNALBOX_CACHE=$CACHE
# What pip installs goes into folders of our own; its advice against root does not apply.
export PIP_ROOT_USER_ACTION=ignore
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
if [ -z "${SIGNALBOX_DATA:-}" ] && [ -d "$ROOT/../shared/data" ]; then
  SIGNALBOX_DATA=$(cd "$ROOT/../shared/data" && pwd)
  export SIGNALBOX_DATA
fi

say() { printf '== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
in_ci() { [ "${CI:-}" = true ]; }

# Whether a skip ("name: reason") is on the short list of what a machine may lack even in CI.
skip_allowed() {
  local pattern
  while IFS= read -r pattern; do
    case $pattern in '' | '#'*) continue ;; esac
    if printf '%s\n' "$1" | grep -Eq -- "$pattern"; then return 0; fi
  done <"$SCRIPTS/allowed-skips.txt"
  return 1
}

# How apt may be run here: "" as root, "sudo -n" where no password is asked; status 1 where it may not.
apt_prefix() {
  have apt-get || return 1
  if [ "$(id -u)" = 0 ]; then return 0; fi
  if have sudo && sudo -n true 2>/dev/null; then printf 'sudo -n'; return 0; fi
  return 1
}

# Brings Debian packages: installed by apt where it may, else unpacked below $CACHE/apt, where the caller looks.
apt_part() {
  local prefix folder
  if prefix=$(apt_prefix); then
    note "installing with apt: $*"
    # shellcheck disable=SC2086  # an empty prefix must vanish, "sudo -n" must split
    $prefix env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 ||
      { $prefix apt-get update -qq >/dev/null 2>&1 &&
        $prefix env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null; }
  elif have apt-get && have dpkg; then
    note "no right to install: unpacking $* below $CACHE/apt"
    folder=$(mktemp -d)
    mkdir -p "$CACHE/apt"
    (cd "$folder" && apt-get download -qq "$@" >/dev/null &&
      for package in *.deb; do dpkg -x "$package" "$CACHE/apt"; done)
    local status=$?
    rm -rf "$folder"
    return $status
  else
    return 1
  fi
}

# Runs a command as a named step and remembers how long it took.
STEP_TIMES=()
step() {
  local name=$1 begin=$SECONDS status=0
  shift
  say "$name"
  "$@" || status=$?
  STEP_TIMES+=("$(printf '%5d s  %s' $((SECONDS - begin)) "$name")")
  if [ $status -ne 0 ]; then
    printf 'error: step failed: %s (%s)\n' "$name" "$*" >&2
    step_times
    exit $status
  fi
}
step_times() {
  say "Time per step"
  [ ${#STEP_TIMES[@]} -eq 0 ] || printf '%s\n' "${STEP_TIMES[@]}"
}
