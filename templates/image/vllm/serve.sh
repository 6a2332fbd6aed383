#!/bin/sh
# Starts vLLM with its configuration file; the API key travels in this process's environment only.
set -eu
. /opt/paddock/key.sh
VLLM_API_KEY=$(cat "$PADDOCK_KEY_FILE")
export VLLM_API_KEY
# On a CPU: as many threads as vLLM's own binding would take, one core left to the server around the engine.
if [ -n "${VLLM_CPU_KVCACHE_SPACE:-}" ] && [ -z "${OMP_NUM_THREADS:-}" ]; then
    cores=$(nproc)
    OMP_NUM_THREADS=$((cores > 1 ? cores - 1 : 1))
    export OMP_NUM_THREADS
fi
exec vllm serve --config "${PADDOCK_CONFIG:-/etc/paddock/vlm.yaml}" "$@"
