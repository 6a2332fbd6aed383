#!/bin/sh
# Starts SGLang with its configuration file.
set -eu
. /opt/paddock/key.sh
exec python /opt/paddock/serve.py --config "${PADDOCK_CONFIG:-/etc/paddock/vlm.yaml}" "$@"
