#!/bin/bash
# Starts vLLM with its configuration file; the API key travels in this process's environment only.
# Called by the image's own entrypoint, which on some machines starts the card's services first.
set -eu
. /opt/paddock/key.sh
VLLM_API_KEY=$(cat "$PADDOCK_KEY_FILE")
export VLLM_API_KEY

# As in the ~/.bashrc of the vendor's image.
for library in /usr/lib/*-linux-gnu/libjemalloc.so.2; do
    if [ -r "$library" ]; then
        export LD_PRELOAD="$library${LD_PRELOAD:+:$LD_PRELOAD}"
    fi
done
exec bash /opt/paddock/with-cann.sh vllm serve --config "${PADDOCK_CONFIG:-/etc/paddock/vlm.yaml}" "$@"
