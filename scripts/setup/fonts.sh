#!/usr/bin/env bash
# Have the fonts that tests of the embedded model draw their pages with: use those that are there, else Debian's packages.
#
# usage: fonts.sh
set -euo pipefail

readonly folder=/usr/share/fonts/truetype
if [[ -f $folder/dejavu/DejaVuSans.ttf && -f $folder/liberation/LiberationSerif-Regular.ttf ]]; then
    exit 0
fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    printf 'error: %s: found no DejaVu and Liberation fonts in %s\nhint: %s\n' "${0##*/}" "$folder" \
        "sudo apt-get install fonts-dejavu-core fonts-liberation" >&2
    exit 9
fi
printf '%s: installing fonts-dejavu-core and fonts-liberation from Debian'"'"'s packages\n' "${0##*/}" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends fonts-dejavu-core fonts-liberation >/dev/null
