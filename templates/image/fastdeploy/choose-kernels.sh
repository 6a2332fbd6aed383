#!/bin/sh
# Takes FastDeploy with the kernels for other cards than those of the vendor's image: choose-kernels.sh ARCHS VERSION
# ARCHS is 80_90, what the image has, or 86_89, which comes from Paddle's package index (FastDeploy's documents say so).
# Reads, when they are there: /run/secrets/pip-index-url, /run/secrets/ca-bundle. Neither ends in a layer.
set -eu

archs=$1 version=$2
case $archs in
80_90) exit 0 ;;
86_89) ;;
*) echo "FASTDEPLOY_ARCHS: found $archs, expected 80_90 or 86_89" >&2 && exit 1 ;;
esac
if [ -s /run/secrets/ca-bundle ]; then
    export SSL_CERT_FILE=/run/secrets/ca-bundle PIP_CERT=/run/secrets/ca-bundle
fi
pip() { python -m pip --disable-pip-version-check --no-cache-dir "$@"; }
pip uninstall --yes fastdeploy-gpu
# Without its dependencies, which the image has: nothing else comes from that index.
echo "warning: fastdeploy-gpu==$version: installed WITHOUT A HASH: Paddle's index could not be asked for one" >&2
pip install --no-deps --find-links /wheels \
    --index-url "https://www.paddlepaddle.org.cn/packages/stable/fastdeploy-gpu-$archs/" "fastdeploy-gpu==$version"
