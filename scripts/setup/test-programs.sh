#!/usr/bin/env bash
# Have what the tests need beside an engine, from Debian's packages: fonts to draw pages with, FAT32 and exFAT through
# FUSE whatever the kernel has, two independent readers of what paddock writes (skopeo for archives, minisign for
# signatures), a program that connects networks, and PostgreSQL, of which tests start their own.
#
# usage: test-programs.sh
set -euo pipefail

readonly fonts=/usr/share/fonts/truetype
wanted=() # DEBIAN-PACKAGE...

have() { # have PACKAGE PATH-OR-PROGRAM...: want the package unless everything that is named is there
    local package=$1 name
    shift
    for name in "$@"; do
        if [[ $name == /* ]]; then [[ -e $name ]]; else command -v "$name" >/dev/null; fi || {
            wanted+=("$package")
            return 0
        }
    done
}

have fonts-dejavu-core "$fonts/dejavu/DejaVuSans.ttf"
have fonts-liberation "$fonts/liberation/LiberationSerif-Regular.ttf"
have dosfstools mkfs.vfat
have fusefat fusefat
have exfatprogs mkfs.exfat
have exfat-fuse mount.exfat-fuse
have skopeo skopeo
have minisign minisign
have iproute2 ip
have postgresql /usr/lib/postgresql

if ((${#wanted[@]} == 0)); then
    exit 0
fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    printf 'error: setup: the tests need %s, found them missing\nhint: %s\n' \
        "${wanted[*]}" "sudo apt-get install ${wanted[*]}" >&2
    exit 9
fi
printf 'setup: installing what the tests need from Debian'"'"'s packages: %s\n' "${wanted[*]}" >&2
# The package would make and start a cluster of its own.
if [[ ! -e /etc/postgresql-common/createcluster.conf ]]; then
    install -d /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${wanted[@]}" >/dev/null
