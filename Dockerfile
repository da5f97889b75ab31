# All images, a target each: guard cache router executor metering gateway, and signalbox (all in one, the command line, the simulator).
#
#   docker build --target guard --tag signalbox-guard .
#
# Needs BuildKit. The binaries are compiled once for all of them, their dependencies in a layer of their own (cargo-chef). Binaries that are
# there already are taken instead with
#   docker buildx build --build-context binaries=FOLDER --target guard .        a folder, or
#   docker build --build-arg BINARIES=IMAGE --target guard .                    an image that has them at its root.
# Behind a proxy that signs with an authority of its own, add --secret id=ca,src=BUNDLE.pem.

ARG RUST_VERSION=1.95.0
ARG BINARIES=compiled

FROM rust:${RUST_VERSION}-slim-bookworm AS chef
ARG RUST_VERSION
# The image's own, without the components that rust-toolchain.toml asks for and nothing here needs.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
ARG CHEF_VERSION=0.1.78
COPY scripts/with_ca.sh /usr/local/bin/
RUN --mount=type=secret,id=ca with_ca.sh cargo install cargo-chef --locked --version "$CHEF_VERSION"
WORKDIR /src

FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS compile
# As `make release`.
ARG FEATURES=signalbox/qdrant-edge,signalbox-cache/qdrant-edge
COPY --from=planner /src/recipe.json recipe.json
RUN --mount=type=secret,id=ca with_ca.sh cargo chef cook --release --locked --workspace --bins --features "$FEATURES" --recipe-path recipe.json
COPY . .
RUN --mount=type=secret,id=ca with_ca.sh cargo build --release --locked --workspace --bins --features "$FEATURES" \
  && mkdir /out && find target/release -maxdepth 1 -name 'signalbox*' -type f -executable -exec cp -t /out {} +

FROM scratch AS compiled
COPY --from=compile /out/ /

FROM ${BINARIES} AS binaries

# The embedding model and ONNX Runtime, as scripts/parts.lock pins them.
FROM debian:bookworm-slim AS model
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip python3-venv \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY scripts/common.sh scripts/setup.sh scripts/with_ca.sh scripts/fetch_part.py scripts/export_minilm.py scripts/parts.lock \
  scripts/requirements.txt scripts/
ENV SIGNALBOX_CACHE=/opt/signalbox PIP_ROOT_USER_ACTION=ignore
RUN --mount=type=secret,id=ca scripts/with_ca.sh scripts/setup.sh runtime model && rm -rf /opt/signalbox/venv

# What an image without a shell cannot make.
FROM debian:bookworm-slim AS layout
RUN mkdir -p /layout/var/lib/signalbox

# libc, libgcc, libstdc++ and certificates of authorities; no shell. Its user is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot AS base
COPY --from=layout --chown=65532:65532 /layout/var/lib/signalbox /var/lib/signalbox
ENV SIGNALBOX_DATA_DIR=/var/lib/signalbox
USER 65532:65532
WORKDIR /
LABEL org.opencontainers.image.title="Signalbox" org.opencontainers.image.licenses="Apache-2.0"

FROM base AS base-with-model
COPY --from=model /opt/signalbox /opt/signalbox
ENV SIGNALBOX_CACHE=/opt/signalbox

FROM base-with-model AS guard
COPY --from=binaries /signalbox-guard /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/usr/local/bin/signalbox-guard", "--health"]
EXPOSE 8081 9464
ENTRYPOINT ["/usr/local/bin/signalbox-guard"]

FROM base-with-model AS cache
COPY --from=binaries /signalbox-cache /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/usr/local/bin/signalbox-cache", "--health"]
EXPOSE 8082 9464
ENTRYPOINT ["/usr/local/bin/signalbox-cache"]

FROM base-with-model AS router
COPY --from=binaries /signalbox-router /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/usr/local/bin/signalbox-router", "--health"]
EXPOSE 8083 9464
ENTRYPOINT ["/usr/local/bin/signalbox-router"]

FROM base AS executor
COPY --from=binaries /signalbox-executor /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/usr/local/bin/signalbox-executor", "--health"]
EXPOSE 8084 9464
ENTRYPOINT ["/usr/local/bin/signalbox-executor"]

FROM base AS metering
COPY --from=binaries /signalbox-metering /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/usr/local/bin/signalbox-metering", "--health"]
EXPOSE 8085 9464
ENTRYPOINT ["/usr/local/bin/signalbox-metering"]

FROM base AS gateway
COPY --from=binaries /signalbox-gateway /usr/local/bin/
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s CMD ["/usr/local/bin/signalbox-gateway", "--health"]
EXPOSE 8080 9464
ENTRYPOINT ["/usr/local/bin/signalbox-gateway"]

# Everything in one process, and the command line.
FROM base-with-model AS signalbox
COPY --from=binaries /signalbox /usr/local/bin/
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/signalbox"]
CMD ["up"]
