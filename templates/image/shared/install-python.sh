#!/bin/sh
# Installs exact Python packages into /opt/venv in an image build:
#   install-python.sh REQUIREMENTS [INDEX-URL PACKAGE]
# REQUIREMENTS holds every package, of every depth, with its exact version: nothing is resolved here.
# PACKAGE comes from INDEX-URL unless a wheel of it lies in /wheels (the build context "wheels", variable WHEELHOUSE).
# Reads, when they are there: /run/secrets/pip-index-url, /run/secrets/ca-bundle. Neither ends in a layer.
set -eu

requirements=$1 index=${2:-} package=${3:-}

if [ -s /run/secrets/ca-bundle ]; then
    export SSL_CERT_FILE=/run/secrets/ca-bundle PIP_CERT=/run/secrets/ca-bundle
fi
if [ -s /run/secrets/pip-index-url ]; then
    UV_DEFAULT_INDEX=$(cat /run/secrets/pip-index-url)
    PIP_INDEX_URL=$UV_DEFAULT_INDEX
    export UV_DEFAULT_INDEX PIP_INDEX_URL
fi
export UV_CACHE_DIR=/var/cache/uv UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_HTTP_TIMEOUT=180 UV_NO_PROGRESS=1

python3 -m venv /tmp/uv
/tmp/uv/bin/pip --quiet --disable-pip-version-check --cache-dir /var/cache/uv/pip install --find-links /wheels "uv==$UV_VERSION"
/tmp/uv/bin/uv venv --quiet --python /usr/bin/python3 /opt/venv

install() { /tmp/uv/bin/uv pip install --python /opt/venv/bin/python --no-deps --find-links /wheels "$@"; }
if [ -n "$index" ] && [ -z "$(find /wheels -name "$package-*.whl" | head -n 1)" ]; then
    # Only this package comes from the vendor's index, so that nothing there can take another package's name.
    grep "^$package==" "$requirements" > /tmp/vendor.txt
    install --default-index "$index" --requirements /tmp/vendor.txt
fi
install --requirements "$requirements"

# A server runs no test suites and compiles nothing: 0.4 GB of tests, C++ headers and build programs.
site=$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$site" -type d -name tests -prune -exec rm -rf {} +
rm -rf "$site/torch/test" "$site/torch/include" "$site/paddle/include"
find "$site/torch/bin" -type f ! -name torch_shm_manager -delete 2> /dev/null || true
rm -rf /tmp/uv /tmp/vendor.txt
