#!/bin/sh
# Runs a command in a build of the Dockerfile; trusts the authorities of the secret `ca`, where the build was given one.
set -eu
if [ -s /run/secrets/ca ]; then
  export CARGO_HTTP_CAINFO=/run/secrets/ca PIP_CERT=/run/secrets/ca SSL_CERT_FILE=/run/secrets/ca
fi
exec "$@"
