#!/usr/bin/env bash
# Have what tests of bundles make and mount a FAT32 stick with, whatever the kernel has: dosfstools, and FAT through FUSE.
#
# usage: setup-fat.sh
set -euo pipefail

if command -v mkfs.vfat >/dev/null && command -v fusefat >/dev/null; then
    exit 0
fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    printf 'error: %s: found no mkfs.vfat and fusefat\nhint: %s\n' "${0##*/}" "sudo apt-get install dosfstools fusefat" >&2
    exit 9
fi
printf '%s: installing dosfstools and fusefat from Debian'"'"'s packages\n' "${0##*/}" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends dosfstools fusefat >/dev/null
