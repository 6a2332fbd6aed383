#!/bin/sh
# Builds llama-server from the sources that the source distribution of llama-cpp-python carries, because that one
# comes from PyPI and every mirror of it.
set -eu
if [ -s /run/secrets/ca-bundle ]; then
    export PIP_CERT=/run/secrets/ca-bundle
fi
if [ -s /run/secrets/pip-index-url ]; then
    PIP_INDEX_URL=$(cat /run/secrets/pip-index-url)
    export PIP_INDEX_URL
fi
python3 -m venv /tmp/venv
pip() { /tmp/venv/bin/pip --quiet --disable-pip-version-check --cache-dir /var/cache/uv/pip "$@"; }
# Everything by hash, also what pip needs to look at the sources: a build of its own would fetch that without one.
grep -v '^llama-cpp-python==' /run/requirements.txt > /tmp/tools.txt
grep '^llama-cpp-python==' /run/requirements.txt > /tmp/source.txt
pip install --no-deps --only-binary :all: --require-hashes --find-links /wheels --requirement /tmp/tools.txt
pip download --no-deps --no-binary llama-cpp-python --no-build-isolation --require-hashes --find-links /wheels \
    --dest /tmp/source --requirement /tmp/source.txt
tar -xzf /tmp/source/llama_cpp_python-*.tar.gz -C /tmp/source --strip-components=1
source=/tmp/source/vendor/llama.cpp

# Static and without -march=native: the image must run on other machines than the one that built it (x86-64 with AVX2).
cmake -S "$source" -B /tmp/build -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=ON
cmake --build /tmp/build --target llama-server
install -D --strip /tmp/build/bin/llama-server /opt/llama.cpp/bin/llama-server
install -D -m 0644 "$source/LICENSE" /opt/llama.cpp/LICENSE
rm -rf /tmp/source /tmp/build /tmp/venv /tmp/tools.txt /tmp/source.txt
