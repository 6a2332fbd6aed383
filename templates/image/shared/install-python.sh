#!/bin/sh
# Installs exact Python packages into /opt/venv in an image build:
#   install-python.sh REQUIREMENTS [INDEX-URL PACKAGE [STAND-IN]]
# REQUIREMENTS holds every package, of every depth, with its exact version: nothing is resolved here.
# PACKAGE comes from INDEX-URL unless a wheel of it lies in /wheels (the build context "wheels", variable WHEELHOUSE).
# STAND-IN, when not empty, is another package that goes in PACKAGE's place, without NVIDIA's libraries: for trials.
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
/tmp/uv/bin/pip --quiet --disable-pip-version-check --cache-dir /var/cache/uv/pip install --find-links /wheels "uv==$UV_VERSION"
/tmp/uv/bin/uv venv --quiet --python "$python" ${PYTHON:+--system-site-packages} /opt/venv

install() { /tmp/uv/bin/uv pip install --python /opt/venv/bin/python --no-deps --find-links /wheels "$@"; }
if [ -n "$stand_in" ]; then
    { grep -v -E "^($package|nvidia-[a-z0-9-]+)==" "$requirements"; echo "$stand_in"; } > /tmp/requirements.txt
    requirements=/tmp/requirements.txt
elif [ -n "$index" ] && [ -z "$(find /wheels -name "$(echo "$package" | tr - _)-*.whl" | head -n 1)" ]; then
    # Only this package comes from the vendor's index, so that nothing there can take another package's name.
    grep "^$package==" "$requirements" > /tmp/vendor.txt
    install --default-index "$index" --requirements /tmp/vendor.txt
fi
install --requirements "$requirements"
rm -rf /tmp/uv /tmp/vendor.txt /tmp/requirements.txt /opt/venv/.lock
