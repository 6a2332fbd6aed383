#!/bin/bash
# Healthcheck of a VLM server: healthy once it lists the model that the pipeline API will ask for.
# bash alone, so that it works in an image without Python or curl; the key never becomes an argument.
set -euo pipefail

port=8080
key=$(< "$PADDOCK_KEY_FILE")

ask() { # PATH -> the whole HTTP answer on stdout
    exec 3<> "/dev/tcp/127.0.0.1/$port"
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n' "$1" "$key" >&3
    cat <&3
    exec 3>&-
}

[[ $(ask /health) =~ ^HTTP/1\.[01]\ 200 ]] || { echo "the server does not answer /health with 200"; exit 1; }
[[ $(ask /v1/models) == *"\"$PADDOCK_SERVED_NAME\""* ]] || { echo "the server does not list $PADDOCK_SERVED_NAME"; exit 1; }
