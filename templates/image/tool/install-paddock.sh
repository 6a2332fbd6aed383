#!/bin/sh
# Makes a wheel of the checkout in /checkout and installs it into /usr/lib/paddock. Every package beside it has the
# version of constraints.txt and is taken by hash.
# Reads, when they are there: /run/secrets/pip-index-url, /run/secrets/ca-bundle. Neither ends in a layer.
set -eu
if [ -s /run/secrets/ca-bundle ]; then
    export PIP_CERT=/run/secrets/ca-bundle
fi
if [ -s /run/secrets/pip-index-url ]; then
    PIP_INDEX_URL=$(cat /run/secrets/pip-index-url)
    export PIP_INDEX_URL
fi
export PIP_CACHE_DIR=/var/cache/uv/pip PIP_FIND_LINKS=/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore PIP_QUIET=1

python3 -m venv /tmp/build
/tmp/build/bin/pip install --no-deps --only-binary :all: --require-hashes --requirement /run/build.lock.txt
/tmp/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /tmp/wheel /checkout
python3 -m venv --without-pip /usr/lib/paddock
into="/tmp/build/bin/pip --python /usr/lib/paddock/bin/python install --no-compile --no-deps --only-binary :all:"
$into --require-hashes --requirement /run/tool.lock.txt
$into --no-index /tmp/wheel/*.whl
/tmp/build/bin/pip --python /usr/lib/paddock/bin/python check
# Byte code that holds no times of files: it stays valid, and is the same in every build.
/usr/lib/paddock/bin/python -m compileall -q --invalidation-mode unchecked-hash /usr/lib/paddock/lib
rm -rf /tmp/build /tmp/wheel
