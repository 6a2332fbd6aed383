#!/bin/sh
# Starts PROGRAM in one of upstream's images: start.sh PROGRAM [ARGUMENT...]
# The weights that an offline image holds are made to appear where our configuration names them.
set -eu
if [ -n "${PADDOCK_WEIGHTS:-}" ]; then
    if [ ! -r "$PADDOCK_WEIGHTS" ]; then
        echo "start.sh: $PADDOCK_WEIGHTS: not in this image or not readable, expected the weights of an offline image" >&2
        exit 1
    fi
    ln -sfn "$PADDOCK_WEIGHTS"/* /models/
fi
exec "$@"
