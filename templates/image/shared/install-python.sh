#!/bin/sh
# Installs exact Python packages into /opt/venv in an image build:
#   install-python.sh REQUIREMENTS [INDEX-URL PACKAGE [STAND-IN]]
# REQUIREMENTS holds every package, of every depth, with its exact version and the hashes of its wheels: nothing is
# resolved here, nothing is compiled, and what has another hash is refused, whichever index or folder it is from.
# PACKAGE comes from INDEX-URL unless a wheel of it lies in /wheels (the build context "wheels", variable WHEELHOUSE).
# STAND-IN, when not empty, is another package that goes in PACKAGE's place, without NVIDIA's libraries: for trials.
# UNLOCKED_WHEELS, when not empty, takes wheels of /wheels that are not those of REQUIREMENTS; each is named.
# PYTHON, when set, is the interpreter of the base image; what the base has for it stays visible in /opt/venv.
# Reads, when they are there: /run/secrets/pip-index-url, /run/secrets/ca-bundle. Neither ends in a layer.
set -eu

requirements=$1 index=${2:-} package=${3:-} stand_in=${4:-}
python=$(command -v "${PYTHON:-/usr/bin/python3}")

if [ -s /run/secrets/ca-bundle ]; then
    export SSL_CERT_FILE=/run/secrets/ca-bundle PIP_CERT=/run/secrets/ca-bundle
fi
if [ -s /run/secrets/pip-index-url ]; then
    UV_DEFAULT_INDEX=$(cat /run/secrets/pip-index-url)
    PIP_INDEX_URL=$UV_DEFAULT_INDEX
    export UV_DEFAULT_INDEX PIP_INDEX_URL
fi
export UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_HTTP_TIMEOUT=180 UV_NO_PROGRESS=1
# Byte code that holds no times of files and is the same in every build.
export PYC_INVALIDATION_MODE=UNCHECKED_HASH PYTHONHASHSEED=0

"$python" -m venv /tmp/uv
/tmp/uv/bin/pip --quiet --disable-pip-version-check --cache-dir /var/cache/uv/pip install --find-links /wheels \
    --no-deps --only-binary :all: --require-hashes --requirement /run/uv.lock.txt
/tmp/uv/bin/uv venv --quiet --python "$python" ${PYTHON:+--system-site-packages} /opt/venv
# The venv's Python has no packages of the base in the way, and pip's own parts know which wheels fit it.
/tmp/uv/bin/python /run/choose-packages.py "$requirements" /wheels /tmp/packages ${package:+--vendor "$package"} \
    ${stand_in:+--stand-in "$stand_in"}

install() { # install NAME OPTION...: one of the lists, where there is one
    list=/tmp/packages/$1.txt
    shift
    [ ! -f "$list" ] || /tmp/uv/bin/uv pip install --python /opt/venv/bin/python --no-deps --no-build \
        --find-links /wheels "$@" --requirements "$list"
}
# Only this package comes from the vendor's index, so that nothing there can take another package's name.
install vendor --require-hashes --default-index "$index"
install vendor-unhashed --default-index "$index"
install unhashed
install locked --require-hashes
rm -rf /tmp/uv /tmp/packages /opt/venv/.lock
