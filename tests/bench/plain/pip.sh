#!/bin/sh
# pip install of exact versions into the system's Python: pip.sh REQUIREMENTS [INDEX-URL PACKAGE]
# PACKAGE comes from INDEX-URL unless a wheel of it lies in /wheels. pip's cache is a mount and stays out of the image.
set -eu
requirements=$1 index=${2:-} package=${3:-}

if [ -s /run/secrets/ca-bundle ]; then
    export PIP_CERT=/run/secrets/ca-bundle
fi
if [ -s /run/secrets/pip-index-url ]; then
    PIP_INDEX_URL=$(cat /run/secrets/pip-index-url)
    export PIP_INDEX_URL
fi

install() {
    python3 -m pip install --quiet --break-system-packages --root-user-action=ignore --disable-pip-version-check \
        --no-deps --find-links /wheels "$@"
}
if [ -n "$index" ] && [ -z "$(find /wheels -name "$package-*.whl" | head -n 1)" ]; then
    grep "^$package==" "$requirements" > /tmp/vendor.txt
    install --index-url "$index" --requirement /tmp/vendor.txt
    rm /tmp/vendor.txt
fi
install --requirement "$requirements"
