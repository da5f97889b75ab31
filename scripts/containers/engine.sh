# shellcheck shell=bash
# Sourced: a Docker engine that is there, or one of our own that ends with the script. Own ones keep images in $CACHE/docker.
#
# A machine within a machine often has no right to the host's firewall: builds then run on the host's network, without a bridge, and
# containers in a network namespace of the engine's own, where bridge, DNS and ports work.

ENGINE=$CACHE/docker
NAMESPACE=signalbox-docker
OWN=false

# A client that builds with BuildKit: buildx, or one from before version 23, which has it in itself.
pick_docker() {
  local candidate version
  for candidate in docker /usr/bin/docker; do
    have "$candidate" || continue
    version=$("$candidate" version --format '{{.Client.Version}}' 2>/dev/null || true)
    if "$candidate" buildx version >/dev/null 2>&1 || [ "${version%%.*}" -lt 23 ]; then DOCKER=$candidate; return 0; fi
  done
  return 1
}

# Sets DOCKER and COMPOSE; status 1 and WHY where there is no engine to be had.
find_engine() {
  export DOCKER_BUILDKIT=1
  if pick_docker && "$DOCKER" info >/dev/null 2>&1; then
    note "using the engine that is there: $("$DOCKER" version --format '{{.Server.Version}}')"
  elif [ "$(uname)" = Linux ] && [ "$(id -u)" = 0 ] && have apt-get; then
    { have dockerd && have debootstrap && have docker-compose && have iptables; } ||
      apt_part docker.io docker-compose iptables iproute2 debootstrap || { WHY="apt has no docker.io"; return 1; }
    pick_docker || { WHY="no client with BuildKit"; return 1; }
    OWN=true
    export DOCKER_HOST=unix://$ENGINE/run/socket
    start_engine build || { WHY="dockerd does not run here: $(tail -1 "$ENGINE/log")"; return 1; }
  else
    WHY="no Docker engine, and no right to start one"
    return 1
  fi
  if "$DOCKER" compose version >/dev/null 2>&1; then COMPOSE="$DOCKER compose"; else COMPOSE=docker-compose; fi
}

start_engine() { # build | run
  local enter=() options=()
  mkdir -p "$ENGINE/run"
  if [ "$1" = build ]; then
    options=(--iptables=false --ip6tables=false --bridge=none)
  else
    ip netns add "$NAMESPACE" 2>/dev/null || true
    # Not `ip netns exec`, which hides the control groups.
    enter=(nsenter "--net=/var/run/netns/$NAMESPACE")
    "${enter[@]}" sh -c 'ip link set lo up && echo 1 >/proc/sys/net/ipv4/ip_forward'
  fi
  setsid "${enter[@]}" unshare --mount --propagation private dockerd --data-root "$ENGINE/data" --exec-root "$ENGINE/run/exec" \
    --pidfile "$ENGINE/run/pid" --host "$DOCKER_HOST" --storage-driver overlay2 ${options[@]+"${options[@]}"} >"$ENGINE/log" 2>&1 &
  local i
  for ((i = 0; i < 100; i++)); do
    if "$DOCKER" info >/dev/null 2>&1; then return 0; fi
    sleep 0.2
  done
  return 1
}

stop_engine() {
  $OWN || return 0
  local pid i
  pid=$(cat "$ENGINE/run/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || return 0
  for ((i = 0; i < 150; i++)); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.2
  done
  ip netns delete "$NAMESPACE" 2>/dev/null || true
}

# From building to running.
to_running() {
  $OWN || return 0
  stop_engine && start_engine run
}

# Runs a command where the containers' ports are.
beside() {
  if $OWN; then nsenter "--net=/var/run/netns/$NAMESPACE" "$@"; else "$@"; fi
}

# Network of builds.
build_network() {
  if $OWN; then printf -- '--network=host'; fi
}
