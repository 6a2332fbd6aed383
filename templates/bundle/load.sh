#!/bin/sh
# Checks this bundle, loads its images into the engine of this host, proves that they are there, and starts the stack.
#
# usage: ./load.sh [--check] [--no-start] [--into DIR] [FOLDER...]
#   FOLDER       where more of the bundle's files are: parts on other media
#   --check      only check the files against SHA256SUMS; the engine is not touched
#   --no-start   load, but do not start anything
#   --into DIR   where the stack's folder goes (default: stacks/@name@ in the state folder, as `paddock import` does:
#                PADDOCK_STATE; /var/lib/paddock for root, else paddock below XDG_STATE_HOME)
#
# Needs sh, coreutils, sed, grep and docker, nothing else, and no network. It may be run again: what was loaded is loaded
# again, settings (DIR/.env) stay as they are. An image that had a name of the bundle's before keeps a second one with
# `-previous` at its end; with that one can go back: docker tag NAME-previous NAME
#
# Exit status: 0 done; 2 wrong usage; 5 no engine; 7 the bundle is damaged, incomplete or not for this host.
set -eu

platform='@platform@'
stack='@name@'
images='@images@'

fail() { # fail STATUS MESSAGE HINT
    printf 'error: %s\nhint: %s\n' "$2" "$3" >&2
    exit "$1"
}
say() { printf '%s\n' "$*" >&2; }

state=${PADDOCK_STATE:-}
if [ -z "$state" ]; then
    state=/var/lib/paddock
    [ "$(id -u)" = 0 ] || state=${XDG_STATE_HOME:-$HOME/.local/state}/paddock
fi
check=no start=yes into=$state/stacks/$stack media=
while [ $# -gt 0 ]; do
    case $1 in
        --check) check=yes ;;
        --no-start) start=no ;;
        --into)
            [ $# -ge 2 ] || fail 2 "--into: found nothing behind it, expected a directory" "./load.sh --into DIR"
            into=$2
            shift
            ;;
        *)
            [ -d "$1" ] || fail 2 "load.sh: found $1, expected --check, --no-start, --into DIR or a folder with parts" \
                "the top of load.sh says what they do"
            media="$media
$(cd -- "$1" && pwd)"
            ;;
    esac
    shift
done
case $into in /*) ;; *) into=$PWD/$into ;; esac
cd -- "$(dirname -- "$0")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# --- the engine, looked at before the files are read: that takes long ---------------------------------------------------
if [ $check = no ]; then
    command -v docker >/dev/null || fail 5 "docker: no such program on PATH" "install Docker Engine 23.0 or later"
    found=$(docker version --format '{{.Server.Os}}/{{.Server.Arch}}' 2>&1) ||
        fail 5 "Docker Engine: no answer: $found" "start it (systemctl start docker), or run this as root"
    [ "$found" = "$platform" ] ||
        fail 7 "this host: found an engine for $found, expected $platform" "carry a bundle that was made for this architecture"
    version=$(docker version --format '{{.Server.Version}}')
    case $version in
        [0-9].* | 1[0-9].* | 2[0-2].*)
            fail 7 "this host: found Docker Engine $version, expected 23.0 or later, for docker load reads zstd since then" \
                "the tool brings the bundle into older ones: docs/guides/airgap.md, section \"An old Docker Engine\""
            ;;
    esac
fi

# --- one folder of links, where the bundle lies in several --------------------------------------------------------------
where_is() { # where_is FILE: in the first folder that has it
    printf '%s\n' "$PWD$media" | while read -r folder; do
        [ ! -e "$folder/$1" ] || { printf '%s\n' "$folder/$1"; break; }
    done
}
if [ -n "$media" ]; then
    while read -r _ name; do
        mkdir -p "$scratch/bundle/$(dirname -- "$name")"
        found=$(where_is "$name")
        [ -z "$found" ] || ln -s "$found" "$scratch/bundle/$name" # a missing one is named below
    done <SHA256SUMS
    cp SHA256SUMS "$scratch/bundle/"
    cd "$scratch/bundle"
fi

# --- every file ---------------------------------------------------------------------------------------------------------
say "checking every file against SHA256SUMS ..."
sha256sum --check --quiet --strict SHA256SUMS >&2 ||
    fail 7 "the bundle: the files named above are missing or damaged" "copy them again, then run this again"
# only these: a longer, older export may have left parts in the same folder
parts=$(sed -n 's/^[0-9a-f]\{64\}  \(@archive@\.[0-9]*\)$/\1/p' SHA256SUMS)
[ -n "$parts" ] || fail 7 "SHA256SUMS: found no part of @archive@" "copy the bundle again"
[ $check = no ] || { say "every file is as it was written"; exit 0; }

# --- load -----------------------------------------------------------------------------------------------------------------
layers_of() { docker image inspect --format '{{json .RootFS.Layers}}' "$1" 2>/dev/null || true; }

each_image() { # each_image FUNCTION: calls it with a reference and its layers
    printf '%s\n' "$images" | while read -r reference layers; do
        "$1" "$reference" "$layers" || exit $?
    done
}
id_of() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true; }
is_here() { docker image inspect "$1" >/dev/null 2>&1; }
keep() { # under a name of its own until all is proven; one that an earlier, cut run left is the older truth
    if is_here "$1-before"; then return; fi
    if ! is_here "$1"; then
        printf '%s\n' "$1" >>"$absent"
    elif [ "$(layers_of "$1")" != "$2" ]; then
        docker tag "$1" "$1-before"
    fi
}
go_back() {
    if is_here "$1-before"; then
        loaded=$(id_of "$1")
        docker tag "$1-before" "$1" && docker image rm "$1-before" >/dev/null
        [ "$loaded" = "$(id_of "$1")" ] || docker image rm "$loaded" >/dev/null 2>&1 || true
    elif grep -qxF "$1" "$absent"; then
        docker image rm "$1" >/dev/null 2>&1 || true
    fi
}
settle() {
    is_here "$1-before" || return 0
    docker tag "$1-before" "$1-previous" && docker image rm "$1-before" >/dev/null
    say "$1: the image that was here before is $1-previous now"
}
prove() {
    now=$(layers_of "$1")
    [ "$now" = "$2" ] ||
        fail 7 "$1: found the layers ${now:-of no image}, expected $2" "the engine did not take all of it"
    now=$(docker image inspect --format '{{.Os}}/{{.Architecture}}' "$1")
    [ "$now" = "$platform" ] || fail 7 "$1: found an image for $now, expected $platform" "carry another bundle"
}

output=$scratch/output absent=$scratch/absent
: >"$absent"
each_image keep
say "loading ..."
# The parts were just checked, so the status of docker load is what counts; but engines may end in success though they
# failed, and say so in their output only.
# shellcheck disable=SC2086 # names without spaces, one a line
cat $parts | docker load >"$output" 2>&1 && ! grep -qiE '^error|error unpacking' "$output" && proven=yes || proven=no
cat "$output" >&2
[ "$proven" = no ] || (each_image prove) || proven=no
if [ "$proven" = no ]; then
    each_image go_back
    fail 7 "docker load: failed, see above; every name leads to the image that it led to before" \
        "make room on the engine's disk (docker system df), then run this again"
fi
each_image settle
say "all images are there, layer by layer"

# --- start ------------------------------------------------------------------------------------------------------------
[ -d stack ] || exit 0
mkdir -p "$into"
cp -RL stack "$scratch/stack"
chmod -R u+rwX,go+rX "$scratch/stack" # containers run as other users, and media or a umask may have closed the files
cp -Rp "$scratch/stack/." "$into/"
if [ -e "$into/.env" ]; then # the site's settings stay, but which images belong to the stack, the bundle decides
    of_images='^(@of_the_bundle@)='
    { grep -vE "$of_images" "$into/.env" || true; grep -E "$of_images" stack/.env.example || true; } >"$into/.env.partial"
    mv "$into/.env.partial" "$into/.env"
else
    cp stack/.env.example "$into/.env"
fi
say "the stack's folder: $into (settings: $into/.env)"
[ $start = yes ] || exit 0
cd "$into"
docker compose up --detach --wait
say "$stack runs"
