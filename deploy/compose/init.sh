#!/usr/bin/env bash
# Makes the secrets of docker-compose.yml, once: deploy/compose/init.sh
#
# seal-keys   the key under which the guard seals what it redacted
# admin-key   the first admin credential, with which keys for clients are made

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The files are readable for the services' user (65532) inside, and reached by nobody else outside.
umask 022
mkdir -p secrets && chmod 700 secrets
[ -s secrets/seal-keys ] || head -c 32 /dev/urandom | base64 >secrets/seal-keys
[ -s secrets/admin-key ] || printf 'sb_admin_%s\n' "$(head -c 24 /dev/urandom | base64 | tr '+/' '-_')" >secrets/admin-key
echo "secrets are in $PWD/secrets; first admin key: SIGNALBOX_KEY=\$(cat $PWD/secrets/admin-key)"
