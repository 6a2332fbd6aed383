#!/bin/bash
# Runs a program with CANN's environment: with-cann.sh PROGRAM [ARGUMENT...]
# The vendors' images set it up in root's ~/.bashrc, which neither a server started by Docker nor another user reads. It is
# taken from CANN's own scripts: they know their version and the machine's architecture.
set -eo pipefail

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
