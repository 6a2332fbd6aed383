#!/bin/sh
# Starts vLLM with its configuration file; the API key travels in this process's environment only.
set -eu
. /opt/paddock/key.sh
VLLM_API_KEY=$(cat "$PADDOCK_KEY_FILE")
export VLLM_API_KEY
exec vllm serve --config "${PADDOCK_CONFIG:-/etc/paddock/vlm.yaml}" "$@"
