#!/bin/sh
# Starts llama-server with the options of its configuration file: one a line, without the dashes, `#` comments.
# The key is read from its file; the weights are the two GGUF files of the mounted directory.
set -eu
. /opt/paddock/key.sh

# Threads that wait for each other sleep. libgomp lets them spin, which beside one busy process made a page take 60 s
# instead of 4 on two cores: a thread that waits holds the core that the awaited one needs.
# https://gcc.gnu.org/onlinedocs/libgomp/OMP_005fWAIT_005fPOLICY.html
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

one() { # the only file that matches, or an error that names what was found
    found=$(find "$PADDOCK_MODEL_DIR" -maxdepth 1 -name '*.gguf' "$@" | sort)
    if [ "$(printf '%s\n' "$found" | grep -c .)" -ne 1 ]; then
        echo "$PADDOCK_MODEL_DIR: expected exactly one .gguf file for $*, found: ${found:-none}" >&2
        exit 1
    fi
    printf '%s' "$found"
}

model=$(one ! -name '*mmproj*')
projector=$(one -name '*mmproj*')
set -- --model "$model" --mmproj "$projector" --api-key-file "$PADDOCK_KEY_FILE" "$@"
while read -r option value; do
    case $option in '' | '#'*) continue ;; esac
    set -- "$@" "--$option" ${value:+"$value"}
done < "${PADDOCK_CONFIG:-/etc/paddock/vlm.conf}"
exec llama-server "$@"
