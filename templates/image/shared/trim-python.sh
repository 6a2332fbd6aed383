#!/bin/sh
# Removes from /opt/venv what a server on a CPU never reads: test suites, C++ headers, build programs and, where `strip`
# is installed, symbols for a debugger. 0.6 GB of torch and vLLM. With a card programs are compiled at run time, which
# needs some of it.
set -eu
site=$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$site" -type d -name tests -prune -exec rm -rf {} +
rm -rf "$site/torch/test" "$site/torch/include" "$site/paddle/include"
if [ -d "$site/torch/bin" ]; then
    find "$site/torch/bin" -type f ! -name torch_shm_manager -delete
fi
# numpy's libraries do not survive stripping, so packages are named one by one.
for package in vllm torch llvmlite; do
    if [ -d "$site/$package" ] && command -v strip > /dev/null; then
        find "$site/$package" -name '*.so*' -size +1M -exec strip --strip-unneeded {} +
    fi
done
