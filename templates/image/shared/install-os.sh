#!/bin/sh
# Installs Debian packages in an image build: install-os.sh PACKAGE...
# Reads, when they are there: /run/secrets/apt-mirror (URL that replaces the archive's), /run/secrets/ca-bundle.
# Downloads stay in the cache mount below /var/cache/apt and never become part of a layer.
set -eu

started=$(date +%s)
[ ! -f /run/no-glx.sh ] || sh /run/no-glx.sh

export DEBIAN_FRONTEND=noninteractive
sources=$(mktemp -d)
options="-o Dir::State::Lists=/var/cache/apt/lists"
mkdir -p /var/cache/apt/lists/partial
for unwanted in doc man info lintian; do
    options="$options -o Dpkg::Options::=--path-exclude=/usr/share/$unwanted/*"
done
options="$options -o Dpkg::Options::=--path-include=/usr/share/doc/*/copyright"
clean=/etc/apt/apt.conf.d/docker-clean
[ ! -f "$clean" ] || mv "$clean" "$sources/docker-clean"

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
[ ! -f "$sources/docker-clean" ] || mv "$sources/docker-clean" "$clean"
rm -rf "$sources"

# The same packages make the same layer in every build, and what lies above it stays the same too: nothing of a log, one
# time for whatever was written, and nothing of the base removed, for that leaves a time as well.
find /var/log /var/cache/ldconfig -type f -exec truncate --size=0 {} +
find /etc /opt /root /tmp /usr /var -xdev -newermt "@$((started - 1))" ! -path /etc/hosts ! -path /etc/resolv.conf \
    -exec touch --no-dereference --date=@315532800 {} +
