#!/bin/sh
# Starts the VLM server of upstream's image as the image does, with the options of vlm.yaml; PaddleX adds its own defaults and
# the model where the server does not know it. The API key travels in this process's environment only.
set -eu
. /opt/paddock/key.sh
VLLM_API_KEY=$(cat "$PADDOCK_KEY_FILE")
export VLLM_API_KEY
exec paddleocr genai_server --backend vllm --model_name "$PADDOCK_SERVED_NAME" --model_dir "$PADDOCK_MODEL_DIR" \
    --host 0.0.0.0 --port 8080 --backend_config "${PADDOCK_CONFIG:-/etc/paddock/vlm.yaml}"
