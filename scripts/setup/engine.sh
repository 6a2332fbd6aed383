#!/usr/bin/env bash
# Have a Docker Engine with Compose v2 and Buildx that answers: use the one that is there, else install Debian's
# packages and start it.
#
# usage: engine.sh
# Debian 12's own engine is too old and its Compose is version 1, so there the packages come from Debian 13, whose
# source is added at pin priority 100: nothing else on the machine moves to it. Other distributions: install Docker
# as its makers say, then come back.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
readonly here

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { # fail STATUS MESSAGE HINT
    printf 'error: %s: %s\nhint: %s\n' "setup" "$2" "$3" >&2
    exit "$1"
}

readonly sources=/etc/apt/sources.list.d/paddock-trixie.sources
readonly preferences=/etc/apt/preferences.d/paddock-trixie
readonly keyring=/usr/share/keyrings/debian-archive-keyring.gpg

plugins_answer() { docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1; }

report() {
    say "engine $(docker version --format '{{.Server.Version}}'), compose $(docker compose version --short)," \
        "$(docker buildx version | cut -d' ' -f1,2)"
}

archive_of() { # archive_of RELEASE: the archive that apt uses for it, or nothing
    # shellcheck disable=SC2016 # the variables are apt's
    apt-get indextargets --format '$(CREATED_BY) $(ORIGIN) $(RELEASE) $(COMPONENT) $(REPO_URI)' |
        awk -v release="$1" '$1 == "Packages" && $2 == "Debian" && $3 == release && $4 == "main" && !n++ { print $5 }'
}

keyring_of() { # keyring_of ARCHIVE: what its deb822 source says in Signed-By, else Debian's own keyring
    local found
    found=$(awk -v RS= -v uri="${1%/}" 'index($0, uri)' /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n 's/^Signed-By:[[:space:]]*//p' | head -n 1)
    printf '%s\n' "${found:-$keyring}"
}

stanza() { # stanza ARCHIVE SUITE
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n' "$1" "$2" "$(keyring_of "$1")"
}

add_trixie() { # beside the machine's own Debian 12 source: same archive, same keyring
    local archive security
    archive=$(archive_of bookworm)
    security=$(archive_of bookworm-security)
    [[ -n $archive ]] ||
        fail 9 "apt: expected a source with the suite bookworm and the component main, found none" \
            "look at /etc/apt/sources.list and /etc/apt/sources.list.d"
    say "adding Debian 13 at priority 100 ($sources, $preferences)"
    {
        printf '# Made by paddock for docker.io, docker-compose and docker-buildx; see %s.\n' "$preferences"
        stanza "$archive" trixie
        [[ -z $security ]] || stanza "$security" trixie-security
    } >"$sources"
    {
        printf '# Made by paddock: Debian 13 serves only what is asked of it by name.\n'
        printf 'Package: *\nPin: release n=trixie\nPin-Priority: 100\n\n'
        printf 'Package: *\nPin: release n=trixie-security\nPin-Priority: 100\n'
    } >"$preferences"
    apt-get update -qq
}

# Without systemd a package's start-up script would run an engine that nobody could stop by name; we start it ourselves.
install_quietly() { # install_quietly APT-ARGUMENTS...
    local policy=/usr/sbin/policy-rc.d made="" status=0
    if [[ ! -d /run/systemd/system && ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 0755 "$policy"
        made=$policy
        # shellcheck disable=SC2064 # the value of now
        trap "rm -f '$made'" EXIT
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" >/dev/null || status=$?
    [[ -z $made ]] || rm -f "$made"
    return "$status"
}

install_engine() {
    # shellcheck source=/dev/null
    . /etc/os-release
    [[ ${ID-} == debian ]] ||
        fail 9 "${PRETTY_NAME:-this system}: Docker is installed by this script on Debian 12 and newer only" \
            "install Docker Engine 24 or newer (to build images) with Compose v2 and Buildx, start it, then run this again"
    ((EUID == 0)) || fail 9 "installing Docker needs root" "sudo $0"
    apt-get update -qq
    local from=()
    if [[ ${VERSION_CODENAME-} == bookworm || -n $(archive_of bookworm) ]]; then
        [[ -n $(archive_of trixie) ]] || add_trixie
        from=(-t trixie)
    fi
    say "installing Docker Engine, Compose and Buildx from Debian's packages"
    install_quietly "${from[@]}" docker.io docker-cli docker-compose docker-buildx iptables ca-certificates ||
        fail 6 "apt-get install docker.io: failed" "see the messages above; apt-cache policy docker.io"
    hash -r
    plugins_answer || fail 5 "docker: expected Compose v2 and Buildx, found $(docker compose version 2>&1 | head -n 1)" \
        "another docker is first on PATH: $(command -v docker)"
}

if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    plugins_answer || fail 5 "the engine answers, but Compose v2 or Buildx is missing" \
        "install the packages docker-compose and docker-buildx (Docker's own: docker-compose-plugin, docker-buildx-plugin)"
    report
    exit 0
fi
[[ -z ${DOCKER_HOST-} ]] || fail 5 "DOCKER_HOST=$DOCKER_HOST does not answer" "start that engine, or unset DOCKER_HOST"
if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null || ! plugins_answer; then
    install_engine
fi
"$here/start-engine.sh"
report
