#!/bin/sh
# apt-get update and install, as Dockerfiles do it: apt.sh PACKAGE...
# Reads, when they are there: /run/secrets/apt-mirror (URL that replaces the archive's), /run/secrets/ca-bundle.
set -eu
export DEBIAN_FRONTEND=noninteractive
options=
if [ -s /run/secrets/ca-bundle ]; then
    options="-o Acquire::https::CAInfo=/run/secrets/ca-bundle"
fi
if [ -s /run/secrets/apt-mirror ]; then
    mirror=$(cat /run/secrets/apt-mirror)
    find /etc/apt -name '*.list' -o -name '*.sources' | while read -r file; do
        sed -i -E "s#https?://deb\.debian\.org/debian(-security)?#${mirror%/}\1#g" "$file"
    done
fi
# shellcheck disable=SC2086 # options are several words on purpose
apt-get $options -q update
# shellcheck disable=SC2086
apt-get $options -q install -y --no-install-recommends "$@"
rm -rf /var/lib/apt/lists/*
