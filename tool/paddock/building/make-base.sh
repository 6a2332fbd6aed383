#!/usr/bin/env bash
# Make a base image from Debian's packages, for a site where no container registry answers.
#
# usage: make-base.sh [--force] [--platform linux/ARCH] REF SUITE [MIRROR]
#   make-base.sh debian:bookworm-slim bookworm
#
# REF is the name that a Dockerfile's FROM asks for, SUITE the Debian release. MIRROR is a Debian archive; without it
# the one that this machine's own apt uses for SUITE, else debootstrap's default. The result holds Debian's minimal
# package set and ca-certificates, without manuals and translations. It is not the official image; a label says so.
# An image that is already there under REF for that platform is kept; --force makes it again.
# Needs root (debootstrap makes device nodes and changes root) and a running engine.
# SOURCE_DATE_EPOCH limits the file times; without it, the date of the archive's Release file.
set -euo pipefail

readonly program=${0##*/}

say() { printf '%s: %s\n' "$program" "$*" >&2; }
fail() { # fail STATUS MESSAGE [HINT]
    printf 'error: %s: %s\n' "$program" "$2" >&2
    [[ -z ${3-} ]] || printf 'hint: %s\n' "$3" >&2
    exit "$1"
}
usage() {
    sed -n '2,/^set /{/^#/!d;s/^# \{0,1\}//;p}' "$0"
    exit "$1"
}

force="" platform=""
while [[ ${1-} == -* ]]; do
    case $1 in
        --force) force=1 ;;
        --platform) platform=${2:?--platform needs a value such as linux/arm64} && shift ;;
        -h | --help) usage 0 ;;
        *) usage 2 >&2 ;;
    esac
    shift
done
(($# == 2 || $# == 3)) || usage 2 >&2
readonly reference=$1 suite=$2 mirror_wanted=${3-}

# --- which machine the image is for: Docker's word and Debian's for it ---------------------------------------------
docker_arch() {
    case $1 in
        x86_64 | amd64) echo amd64 ;;
        aarch64 | arm64) echo arm64 ;;
        *) fail 2 "$1: no such platform here, found neither amd64 nor arm64" ;;
    esac
}
host_arch=$(docker_arch "$(uname -m)")
platform=${platform:-${DOCKER_DEFAULT_PLATFORM:-linux/$host_arch}}
[[ $platform == linux/* ]] || fail 2 "platform $platform: expected linux/amd64 or linux/arm64"
arch=${platform#linux/}
arch=$(docker_arch "${arch%%/*}") # linux/arm64/v8 is arm64; the two words are the same in Docker and Debian
readonly host_arch platform arch

# --- what must be true before anything is written ------------------------------------------------------------------
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
    fail 5 "the Docker Engine does not answer" "start it (scripts/setup/engine.sh in the repository), then run this again"
if [[ -z $force ]]; then
    there=$(docker image inspect --format '{{.Os}}/{{.Architecture}}' "$reference" 2>/dev/null || true)
    if [[ $there == "linux/$arch" ]]; then
        say "$reference ($there) is already here; nothing to do (--force makes it again)"
        exit 0
    fi
fi
((EUID == 0)) || fail 9 "needs root to make a Debian root file system" "sudo $0 $reference $suite"
if [[ $arch != "$host_arch" ]]; then
    case $arch in amd64) emulator=qemu-x86_64 ;; arm64) emulator=qemu-aarch64 ;; esac
    [[ -e /proc/sys/fs/binfmt_misc/$emulator ]] ||
        fail 9 "$platform: this $host_arch machine cannot run $arch programs" \
            "apt-get install qemu-user-static binfmt-support, or run this on an $arch machine"
fi
needed=() # debootstrap, and Debian's keys, without which it believes whatever the archive sends
command -v debootstrap >/dev/null || needed+=(debootstrap)
[[ -s /usr/share/keyrings/debian-archive-keyring.gpg ]] || needed+=(debian-archive-keyring)
if ((${#needed[@]})); then
    command -v apt-get >/dev/null ||
        fail 9 "${needed[*]}: not installed" "install the packages debootstrap and debian-archive-keyring of this distribution"
    say "installing ${needed[*]} from this distribution's packages"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${needed[@]}" >/dev/null
fi

# --- where the packages come from ----------------------------------------------------------------------------------
archive_of() { # archive_of RELEASE: the archive that this machine's apt uses for it, or nothing
    command -v apt-get >/dev/null || return 0
    # shellcheck disable=SC2016 # the variables are apt's
    apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)' 2>/dev/null |
        awk -v release="$1" '$1 == "Packages" && $2 == "Debian" && $3 == release && $4 == "main" && !n++ { print $5 }'
}
mirror=${mirror_wanted:-$(archive_of "$suite")}
mirror=${mirror%/}
# apt's own proxy setting counts for debootstrap's downloads too
if [[ -z ${http_proxy-} ]] && command -v apt-config >/dev/null; then
    proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [[ -z $proxy || $proxy == DIRECT ]] || export http_proxy=$proxy
fi

work=$(mktemp -d "${TMPDIR:-/var/tmp}/make-base.XXXXXX")
readonly work root=$work/root
clean_up() {
    # debootstrap unmounts what it mounted; after an interrupt it may not have
    awk -v below="$root/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r |
        while read -r mounted; do umount -l "$mounted" || true; done
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say "making $reference ($platform) from Debian's $suite packages${mirror:+ at $mirror}; this is not the official image"
debootstrap --force-check-gpg --variant=minbase --include=ca-certificates --arch="$arch" "$suite" "$root" \
    ${mirror:+"$mirror"} >"$work/log" 2>&1 ||
    fail 6 "debootstrap $suite: failed; its last lines:"$'\n'"$(tail -n 25 "$work/log")" \
        "check that the archive holds $suite, is signed by Debian and can be reached; a third argument names another archive"

# --- the same choices as a slim image: no manuals, no translations, no leftovers of apt -----------------------------
mirror=${mirror:-$(awk '$1 == "deb" { print $2; exit }' "$root/etc/apt/sources.list")}
mirror=${mirror%/}
security=$(archive_of "$suite-security")
security=${security:-${mirror%/debian}/debian-security}
rm -f "$root/etc/apt/sources.list"
cat >"$root/etc/apt/sources.list.d/debian.sources" <<END
Types: deb
URIs: $mirror
Suites: $suite $suite-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: ${security%/}
Suites: $suite-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'END'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/groff/*
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
END
# the name that Dockerfiles expect when they keep packages in a build cache: they remove it first
cat >"$root/etc/apt/apt.conf.d/docker-clean" <<'END'
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
END
cat >"$root/etc/apt/apt.conf.d/slim" <<'END'
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Apt::AutoRemove::SuggestsImportant "false";
END
printf '#!/bin/sh\n# no service starts while a package is installed in an image\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 0755 "$root/usr/sbin/policy-rc.d"

say "taking Debian's security updates for $suite"
# the site's own certificate authorities, for archives behind a proxy that opens TLS
cp "${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}" "$root/tmp/ca.crt" 2>/dev/null || : >"$root/tmp/ca.crt"
# a mount namespace of its own: an interrupt cannot leave /proc mounted
# shellcheck disable=SC2016 # $1 belongs to the inner shell
unshare --mount --propagation private sh -euc '
    mount -t proc proc "$1/proc"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    options="-qq"
    [ ! -s "$1/tmp/ca.crt" ] || options="$options -o Acquire::https::CAInfo=/tmp/ca.crt"
    chroot "$1" apt-get $options update
    chroot "$1" apt-get $options -y --no-install-recommends dist-upgrade
' sh "$root" >"$work/log" 2>&1 ||
    fail 6 "apt-get dist-upgrade in the new root: failed; its last lines:"$'\n'"$(tail -n 25 "$work/log")" \
        "check that $security can be reached"

release=$(find "$root/var/lib/apt/lists" -name "*_dists_${suite}_InRelease" -print -quit)
epoch=${SOURCE_DATE_EPOCH:-$(date -d "$(sed -n '0,/^Date: /s/^Date: //p' "$release")" +%s)}
readonly epoch

find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/usr/share/doc" \( -type l -o -type d -empty \) -delete
rm -rf "$root"/usr/share/{groff,info,lintian,locale,man}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* \
    "$root"/var/cache/ldconfig/* "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/var/log/* \
    "$root"/etc/{passwd,group,shadow,gshadow,subuid,subgid}- "$root"/etc/{resolv.conf,hostname} \
    "${root:?}"/{run,tmp,dev}/* "$root"/debootstrap
install -d -m 0755 "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
install -d -m 1777 "$root/run/lock"
: >"$root/etc/machine-id"
awk -F: -v OFS=: -v day=$((epoch / 86400)) '$3 > day { $3 = day } { print }' "$root/etc/shadow" >"$work/shadow"
cat "$work/shadow" >"$root/etc/shadow"

# --- one layer whose bytes depend on the packages only ---------------------------------------------------------------
tar --create --file "$work/root.tar" --directory "$root" --one-file-system --sort=name --numeric-owner \
    --format=pax --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    --mtime="@$epoch" --clamp-mtime --exclude='./proc/*' --exclude='./sys/*' .
docker import --platform "linux/$arch" \
    --message "made from Debian's $suite packages by debootstrap" \
    --change 'CMD ["bash"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change "LABEL org.opencontainers.image.title=debian-$suite-debootstrap" \
    --change "LABEL org.opencontainers.image.description=\"Made from Debian's $suite packages by debootstrap; not the official image\"" \
    --change "LABEL paddock.base=debootstrap" \
    --change "LABEL paddock.base.suite=$suite" \
    "$work/root.tar" "$reference" >/dev/null
size=$(docker image inspect --format '{{.Size}}' "$reference")
say "$reference ($platform) is ready: $((size / 1000000)) MB, made by debootstrap from $mirror"
