#!/usr/bin/env bash
# Have what tests of bundles make and mount FAT32 and exFAT sticks with, whatever the kernel has: both through FUSE.
#
# usage: fat.sh
set -euo pipefail

packages=(dosfstools fusefat exfatprogs exfat-fuse)
missing=()
for program in mkfs.vfat fusefat mkfs.exfat mount.exfat-fuse; do
    command -v "$program" >/dev/null || missing+=("$program")
done
if ((${#missing[@]} == 0)); then
    exit 0
fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    printf 'error: %s: found no %s\nhint: %s\n' "${0##*/}" "${missing[*]}" "sudo apt-get install ${packages[*]}" >&2
    exit 9
fi
printf '%s: installing %s from Debian'"'"'s packages\n' "${0##*/}" "${packages[*]}" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
