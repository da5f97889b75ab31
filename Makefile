# Signalbox's commands. `make help` explains them; the work is done by scripts/.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Build products and tools live in the user's cache folder, so that clones share them.
export SIGNALBOX_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/signalbox
export CARGO_TARGET_DIR ?= $(SIGNALBOX_CACHE)/target

# Data for tests that need some lies beside the clone; without it they skip and say so.
ifneq ($(wildcard ../shared/data),)
export SIGNALBOX_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help demo up test test-full setup clients fmt lint supply sbom chart chart-docs release bench bench-peers

help: ## Explains these commands
	@echo 'Signalbox: a gRPC mesh for traffic to language models. Start with: make demo'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'up and bench take arguments:  make up ARGS="--listen 127.0.0.1:9000"'
	@echo 'setup takes components:       make setup ARGS="model runtime"  (see scripts/setup.sh)'
	@echo
	@echo 'Build products:     $(CARGO_TARGET_DIR)'
	@echo 'Tools and models:   $(SIGNALBOX_CACHE)'
	@echo 'Data for tests:     $(or $(SIGNALBOX_DATA),none; their tests skip)'

demo: ## Sets up, builds, shows the main job on real input with a temporary mesh, and ends by itself
	@scripts/setup.sh rust-check runtime model
	@scripts/demo.sh

up: ## Builds and starts the whole mesh in one process on 127.0.0.1:8080; Ctrl-C drains and ends it
	cargo run --package signalbox --bin signalbox -- up $(ARGS)

test: ## Sets up what tests need, builds, runs all tests and counts them
	@scripts/test.sh

test-full: ## Adds to `make test` what takes too long for every change
	@scripts/test.sh --full

setup: ## Fetches tools and models into the cache folder; may be run again
	@scripts/setup.sh $(ARGS)

clients: ## Generates the clients for Python and TypeScript from proto/ (docs/grpc.md)
	@scripts/setup.sh python buf clients
	@scripts/clients.sh

fmt: ## Formats the Rust code
	cargo fmt --all

lint: ## Checks formatting, contracts, clippy and the documentation's links; what CI checks before the tests
	@scripts/lint.sh

supply: ## Checks sources, versions and licences of what is linked in (deny.toml)
	@scripts/setup.sh rust-check helm supply
	@scripts/supply.sh

SBOM ?= $(CARGO_TARGET_DIR)/sbom/signalbox.cdx.json
sbom: ## Writes what a release is made of as CycloneDX JSON (SBOM=file)
	@scripts/setup.sh rust-check helm supply
	@python3 scripts/sbom.py $(SBOM) --check

chart: ## Lints, renders and validates the Helm chart with its sets of values
	@scripts/setup.sh helm
	@scripts/helm.sh

chart-docs: ## Writes the chart's README from the comments in its values.yaml
	@scripts/setup.sh helm
	@python3 scripts/chart.py docs

# What is shipped also has what fast builds leave out: the embedded Qdrant engine.
RELEASE_FEATURES := signalbox/qdrant-edge,signalbox-cache/qdrant-edge

release: ## Builds what is shipped: all binaries, optimised, with the embedded Qdrant engine (minutes more than without)
	cargo build --release --workspace --bins --features $(RELEASE_FEATURES)

# Each program is linked for minutes, and a mesh in one process is one program.
BENCH_BINS = $(if $(findstring six,$(ARGS)),--workspace --bins,--package signalbox)

bench: ## Builds optimised and measures a mesh: latency, processor time, memory (ARGS="--topology six")
	@cargo build --release $(BENCH_BINS)
	$(CARGO_TARGET_DIR)/release/signalbox bench $(ARGS)

bench-peers: ## Builds optimised and puts one load through Signalbox and its peers: CPU per request (ARGS="--only signalbox,hyper")
	@cargo build --release --workspace --bins
	@cargo build --release --package signalbox-testkit --example reverse_proxy
	@python3 scripts/bench_peers.py --bin $(CARGO_TARGET_DIR)/release $(ARGS)
