#!/bin/sh
# Sourced by a VLM server's start script: makes the API key that only the two containers know, once per stack.
# It lives in a volume that both mount (the pipeline API read-only); it is in no image, argument list or log.
if [ ! -s "$PADDOCK_KEY_FILE" ]; then
    umask 027
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$PADDOCK_KEY_FILE.part"
    mv "$PADDOCK_KEY_FILE.part" "$PADDOCK_KEY_FILE"
fi
