#!/bin/sh
# Installs Debian packages in an image build: install-os.sh PACKAGE...
# Reads, when they are there: /run/secrets/apt-mirror (URL that replaces the archive's), /run/secrets/ca-bundle.
# Downloads stay in the cache mount below /var/cache/apt and never become part of a layer.
set -eu

export DEBIAN_FRONTEND=noninteractive
sources=$(mktemp -d)
options="-o Dir::State::Lists=/var/cache/apt/lists"
mkdir -p /var/cache/apt/lists/partial
rm -f /etc/apt/apt.conf.d/docker-clean

if [ -s /run/secrets/ca-bundle ]; then
    options="$options -o Acquire::https::CAInfo=/run/secrets/ca-bundle"
fi
if [ -s /run/secrets/apt-mirror ]; then
    mirror=$(cat /run/secrets/apt-mirror)
    cp -r /etc/apt/sources.list* "$sources"
    find "$sources" -type f -exec sed -i -E "s#https?://[^ ]+/debian(-security)?([/ ]|\$)#${mirror%/}\1\2#g" {} +
    : >> "$sources/sources.list"
    mkdir -p "$sources/sources.list.d"
    options="$options -o Dir::Etc::SourceList=$sources/sources.list -o Dir::Etc::SourceParts=$sources/sources.list.d"
fi

# shellcheck disable=SC2086 # options are several words on purpose
apt-get $options -q update
# shellcheck disable=SC2086
apt-get $options -q install -y --no-install-recommends "$@"
rm -rf "$sources" /var/log/apt /var/log/dpkg.log /var/cache/ldconfig/aux-cache \
    /usr/share/doc/* /usr/share/man/* /usr/share/info/* /usr/share/lintian/*
