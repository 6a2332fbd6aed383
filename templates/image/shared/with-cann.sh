#!/bin/bash
# Runs a program with CANN's environment: with-cann.sh PROGRAM [ARGUMENT...]
# CANN's own images have most of it as ENV, vllm-ascend's add to it in root's ~/.bashrc, which no server started by Docker and
# no other user reads, and Paddle's base for CANN 8.0.0 leaves it to whoever builds on it. So it is taken, in all of them, from
# the scripts that CANN brings: they know their version and the machine's architecture. No `set -e` here: they try things
# out, and what fails in them is no failure.

load() { # SCRIPT: read into this shell, without our arguments
    local script=$1
    shift
    if [ -r "$script" ]; then
        # shellcheck source=/dev/null
        . "$script"
    else
        echo "with-cann.sh: $script is not there; going on without it" >&2
    fi
}

load /usr/local/Ascend/ascend-toolkit/set_env.sh
load /usr/local/Ascend/nnal/atb/set_env.sh
# The host's driver is mounted here; its libraries go before the stubs that CANN brings for compiling.
driver=/usr/local/Ascend/driver/lib64
export LD_LIBRARY_PATH="$driver:$driver/common:$driver/driver${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}:/usr/local/lib"
exec "$@"
