#!/usr/bin/env bash
# Make .venv: paddock itself (editable) and the programs of `make check` and `make test`, at the versions of
# constraints.txt and from files with its hashes only. Installs Debian's python3 and python3-venv where they are missing. Does nothing when .venv is current.
#
# usage: python.sh
# PYTHON names the interpreter (3.11 or newer; default python3). pip obeys its own settings: PIP_INDEX_URL, PIP_CERT, ...
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { # fail STATUS MESSAGE HINT
    printf 'error: %s: %s\nhint: %s\n' "setup" "$2" "$3" >&2
    exit "$1"
}

readonly venv=.venv stamp=.venv/.paddock-setup
readonly python=${PYTHON:-python3}

# What the environment is made from; the path is part of it because an editable install names it.
wanted() {
    pwd
    sha256sum pyproject.toml constraints.txt tool/paddock/__init__.py "$0"
}

good() { command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

if good "$venv/bin/python" && [[ -f $stamp ]] && [[ $(wanted) == "$(<"$stamp")" ]]; then
    exit 0
fi

if ! good "$venv/bin/python"; then
    if ! good "$python" || ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        command -v apt-get >/dev/null ||
            fail 9 "$python: expected Python 3.11 or newer with venv" "install it, or name one: PYTHON=/path/to/python3 make"
        ((EUID == 0)) ||
            fail 9 "$python: expected Python 3.11 or newer with venv" "sudo apt-get install python3 python3-venv"
        say "installing Debian's python3 and python3-venv"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
            python3 python3-venv ca-certificates >/dev/null
        good "$python" || fail 9 "$python: expected Python 3.11 or newer, found $("$python" --version 2>&1)" \
            "Debian 12 and newer have it; elsewhere name one: PYTHON=/path/to/python3 make"
    fi
    say "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
readonly run="$venv/bin/python"
"$run" -m pip --version >/dev/null 2>&1 || "$run" -m ensurepip >/dev/null
rm -f "$stamp"
say "installing paddock and its development tools from PyPI into $venv"
"$run" -m pip install --quiet --no-deps --only-binary :all: --require-hashes --requirement constraints.txt
# the build backend is one of those just installed, so that it is pinned too
"$run" -m pip install --quiet --no-deps --no-index --no-build-isolation --editable .
"$run" -m pip check >/dev/null || fail 6 "$venv: packages that do not fit together" "$run -m pip check; or delete $venv"
wanted >"$stamp"
say "$("$venv/bin/paddock" --version) is ready in $venv"
