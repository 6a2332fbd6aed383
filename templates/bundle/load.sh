#!/bin/sh
# Checks this bundle, loads its images into the engine of this host, proves that they are there, and starts the stack.
#
# usage: ./load.sh [--check] [--no-start] [--into DIR] [--key PUB] [FOLDER...]
#   FOLDER       where more of the bundle's files are: parts on other media
#   --check      only check the signature and the files; the engine is not touched
#   --no-start   load, but do not start anything
#   --into DIR   where the stack's folder goes (default: stacks/@name@ in the state folder, as `paddock import` does:
#                PADDOCK_STATE; /var/lib/paddock for root, else paddock below XDG_STATE_HOME)
#   --key PUB    the public key that must have signed, where none is pinned for this host in /etc/paddock/keys
#
# A script that came with a bundle cannot vouch for it. Before the first one runs, check its bundle by hand, as
# docs/guides/airgap.md says (section "The first bundle"); only then this script is what the workshop wrote.
#
# What is taken is what bundle.json lists, and nothing that lies beside it. Who signed bundle.json is checked where a
# key is pinned here (/etc/paddock/keys, else keys/ in the state folder) or given; without one, it says so and goes on.
# An older bundle than `paddock import` has brought here is refused; what this script loads is not recorded.
#
# Needs sh, coreutils, sed, grep and docker, with a key also minisign or OpenSSL 3, and no network. It may be run again:
# what was loaded is loaded again, settings (DIR/.env) stay as they are. An image that had a name of the bundle's before
# keeps a second one with `-previous` at its end; with that one can go back: docker tag NAME-previous NAME
#
# Exit status: 0 done; 2 wrong usage; 5 no engine; 7 the bundle is damaged, incomplete, not signed as it must be, or not
# for this host.
set -eu
umask 022 # containers run as other users
export LC_ALL=C

platform='@platform@'
stack='@name@'
host=/etc/paddock

fail() { # fail STATUS MESSAGE HINT
    printf 'error: %s\nhint: %s\n' "$2" "$3" >&2
    exit "$1"
}
say() { printf '%s\n' "$*" >&2; }
shown() { printf '%s' "$1" | tr -c 'A-Za-z0-9._+/-' '?'; } # a name from a medium, which may hold any character
absolute() { case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$PWD/$1" ;; esac }

state=${PADDOCK_STATE:-}
if [ -z "$state" ]; then
    state=/var/lib/paddock
    [ "$(id -u)" = 0 ] || state=${XDG_STATE_HOME:-$HOME/.local/state}/paddock
fi
check=no start=yes into=$state/stacks/$stack given='' media=
while [ $# -gt 0 ]; do
    case $1 in
        --check) check=yes ;;
        --no-start) start=no ;;
        --into)
            [ $# -ge 2 ] || fail 2 "--into: found nothing behind it, expected a directory" "./load.sh --into DIR"
            into=$2
            shift
            ;;
        --key)
            [ -f "${2-}" ] || fail 2 "--key: found no file behind it, expected a public key" "./load.sh --key KEY.pub"
            given=$(absolute "$2")
            shift
            ;;
        *)
            [ -d "$1" ] || fail 2 "load.sh: found $1, expected an option or a folder with parts" \
                "the top of load.sh says what they do"
            media="$media
$(cd -- "$1" && pwd)"
            ;;
    esac
    shift
done
into=$(absolute "$into")
cd -- "$(dirname -- "$0")"
media=$PWD$media
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# --- the engine, looked at before the files are read: that takes long -------------------------------------------------
if [ $check = no ]; then
    command -v docker >/dev/null || fail 5 "docker: no such program on PATH" "install Docker Engine 23.0 or later"
    found=$(docker version --format '{{.Server.Os}}/{{.Server.Arch}}' 2>&1) ||
        fail 5 "Docker Engine: no answer: $found" "start it (systemctl start docker), or run this as root"
    [ "$found" = "$platform" ] ||
        fail 7 "this host: found an engine for $found, expected $platform" "carry a bundle made for this architecture"
    version=$(docker version --format '{{.Server.Version}}')
    case $version in
        [0-9].* | 1[0-9].* | 2[0-2].*)
            fail 7 "this host: found Docker Engine $version, expected 23.0 or later, for docker load reads zstd" \
                "the tool brings the bundle into older ones: docs/guides/airgap.md, section \"An old Docker Engine\""
            ;;
    esac
fi

# --- files of the bundle: plain ones, from the first folder that has them ---------------------------------------------
is_plain() { # is_plain FOLDER NAME: whether the file is there; fails for a link on the way, and for a device or a pipe
    path=$1 rest=$2/
    while [ -n "$rest" ]; do
        path=$path/${rest%%/*} rest=${rest#*/}
        [ ! -L "$path" ] || fail 7 "$path: is a link, expected a file of the bundle" "remove it and copy the file again"
    done
    [ -e "$path" ] || return 1
    [ -f "$path" ] || fail 7 "$path: is not a plain file" "remove it and copy the file again"
}
where_is() { # where_is NAME
    printf '%s\n' "$media" | while IFS= read -r folder; do
        ! is_plain "$folder" "$1" || { printf '%s\n' "$folder/$1"; break; }
    done
}
copy() { # copy NAME BYTES: no more of it than this; where no folder has it, an empty file
    found=$(where_is "$1")
    if [ -n "$found" ]; then head -c "$2" "$found"; fi >"$scratch/$1"
}

root=$scratch/bundle.json sums=$scratch/sums output=$scratch/output
for name in bundle.json bundle.json.minisig SHA256SUMS; do
    copy "$name" 16777216
done
[ -s "$root" ] || fail 7 "the bundle: found no bundle.json" "name the folder that holds it, or copy the bundle again"
case $(tail -c 2 "$root" && echo end) in
    '}
end') ;;
    *) fail 7 "bundle.json: found no end, expected one line of JSON" "copy the bundle again" ;;
esac
grep -qF '"format":"paddock-bundle/1"' "$root" ||
    fail 7 "bundle.json: found another format than paddock-bundle/1" "use the script that came with this bundle"
hash=$(sha256sum <"$root")
hash=${hash%% *}

# --- who signed bundle.json -------------------------------------------------------------------------------------------
key_of() { # key_of FILE: the key in a file of minisign's
    sed -n '1{/^untrusted comment: /!q;};2s/^RW[QRST][A-Za-z0-9+\/]\{53\}$/&/p' "$1" | grep . ||
        fail 7 "$1: is not a minisign public key" "put the workshop's KEY.pub there"
}
is_over() { # is_over FILE: whether the last date of a key, which `paddock trust add --until` wrote down, is over
    until=$(sed -n '1s/.* until //p' "$1")
    case $until in
        '') return 1 ;;
        [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]) [ "$(date -u +%Y%m%d)" -gt "$(printf '%s' "$until" | tr -d -)" ] ;;
        *) fail 7 "$1: found no date behind \"until\", expected 2027-12-31 or the like" "pin it again" ;;
    esac
}
is_revoked() { # is_revoked KEY
    for list in "$host/revoked-keys.txt" "$state/revoked-keys.txt"; do
        [ -e "$list" ] || continue
        [ -r "$list" ] || fail 7 "$list: cannot be read, expected the revoked keys" "run this as a user who may read it"
        ! grep -qxF -- "$1" "$list" || return 0
    done
    return 1
}
number_of() { printf '%s\n' "$1" | base64 -d | tail -c +3 | head -c 8 | base64; } # of a key or of a signature
signs() { # signs FILE SIGNATURE: whether the key in key.der did
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$scratch/key.der" -rawin -in "$1" -sigfile "$2" >"$output" 2>&1
}
holds() { # holds KEY SIGNATURE COMMENT SEAL: whether KEY made this signature, and sealed it with the comment
    if command -v minisign >/dev/null; then
        minisign -Vq -P "$1" -x "$root.minisig" -m "$root" >"$output" 2>&1
        return
    fi
    case $(openssl version 2>/dev/null || true) in
        'OpenSSL '[3-9]* | 'OpenSSL '[1-9][0-9]*) ;;
        *)
            fail 7 "the signature: found neither minisign nor OpenSSL 3, and a key is pinned or given" \
                "install one of them, or import the bundle with the tool, which needs neither: ./paddock import FOLDER"
            ;;
    esac
    { # RFC 8410: what stands before the 32 bytes of an Ed25519 key
        printf '\060\052\060\005\006\003\053\145\160\003\041\000'
        printf '%s\n' "$1" | base64 -d | tail -c 32
    } >"$scratch/key.der"
    printf '%s\n' "$2" | base64 -d | tail -c 64 >"$scratch/signature"
    printf '%s\n' "$4" | base64 -d >"$scratch/seal"
    openssl dgst -blake2b512 -binary "$root" >"$scratch/digest" 2>"$output" ||
        fail 7 "openssl: found no BLAKE2b-512, which was signed" "install minisign, or take ./paddock import FOLDER"
    { cat "$scratch/signature" && printf '%s' "${3#trusted comment: }"; } >"$scratch/sealed"
    signs "$scratch/digest" "$scratch/signature" && signs "$scratch/sealed" "$scratch/seal"
}
is_signature() { # is_signature LINE...: whether these are all of the file, as minisign writes it
    [ "$(printf '%s\n' "$@" | sha256sum)" = "$(sha256sum <"$root.minisig")" ] &&
        [ "$1" = 'untrusted comment: signature from minisign secret key' ] &&
        printf '%s\n' "$2" | grep -qxE 'RU[QRST][A-Za-z0-9+/]{95}[AEIMQUYcgkosw048]=' &&
        printf '%s\n' "$4" | grep -qxE '[A-Za-z0-9+/]{85}[AQgw]=='
}
signed_by() { # signed_by KEY...: fails unless one of them signed bundle.json; the sequence number of the signature
    [ -s "$root.minisig" ] || fail 7 "the bundle: has no signature, expected one by a key that counts here" \
        "copy bundle.json.minisig as well; if there is none, the workshop must sign: paddock sign"
    { IFS= read -r first && IFS= read -r signature && IFS= read -r comment && IFS= read -r seal; } <"$root.minisig" ||
        seal=
    is_signature "$first" "${signature-}" "${comment-}" "$seal" ||
        fail 7 "bundle.json.minisig: is not a signature as \`minisign -S\` writes it" "copy it again"
    id=$(printf '%s' "$hash" | head -c 16)
    printf '%s\n' "$comment" | grep -qxE "trusted comment: bundle:$id sequence:(0|[1-9][0-9]{0,17})" ||
        fail 7 "bundle.json.minisig: belongs to another bundle, or bundle.json was changed" "copy both again"
    for key in "$@"; do
        [ "$(number_of "$key")" = "$(number_of "$signature")" ] || continue
        holds "$key" "$signature" "$comment" "$seal" || fail 7 \
            "bundle.json.minisig: the signature does not hold: the bundle was changed after it was signed" \
            "take the bundle from the workshop again; do not load this one"
        printf '%s\n' "${comment##*:}"
        return
    done
    fail 7 "bundle.json.minisig: found a signature by another key than those that count here" \
        "if that key is the workshop's, pin it: ./paddock trust add KEY.pub"
}

is_there() { [ -e "$1" ] || [ -L "$1" ]; }
for folder in "$host" "$host/keys" "$state/keys"; do
    ! is_there "$folder" || { [ -d "$folder" ] && [ -r "$folder" ] && [ -x "$folder" ]; } ||
        fail 7 "$folder: cannot be read, expected the keys that count here" "run this as a user who may read it"
done
set -- "$host"/keys/*.pub
is_there "$1" || set -- ${given:+"$given"} # keys of the host are what nobody can get around
[ $# != 0 ] || set -- "$state"/keys/*.pub
sequence='' only=''
[ -z "$given" ] || only=$(key_of "$given")
if is_there "$1"; then
    keys=
    for file in "$@"; do
        key=$(key_of "$file")
        if [ "${only:-$key}" != "$key" ]; then
            continue
        elif is_revoked "$key"; then
            say "$file: this key does not count, it was revoked"
        elif is_over "$file"; then
            say "$file: this key does not count, its last date is over"
        else
            keys="$keys $key"
        fi
    done
    [ -n "$keys" ] || fail 7 "$1: found no key here that counts, expected one that signed this bundle" \
        "pin the workshop's: ./paddock trust add KEY.pub (root: with --host)"
    # shellcheck disable=SC2086 # base64 has no spaces
    sequence=$(signed_by $keys)
    say "bundle.json: signed by a key that counts here, sequence $sequence"
else
    say "warning: SIGNATURE NOT CHECKED: no key is pinned here ($host/keys, $state/keys) or given (--key PUB)"
    say "warning: nobody vouches for this bundle; whoever could write to its media decides what will run here"
fi

# --- what bundle.json lists: it is canonical JSON, so each object can be given a line of its own ----------------------
objects() { tr '{' '\n' <"$root"; }
file='"[a-z]*":"\([^"]*\)","sha256":"\([0-9a-f]\{64\}\)","size":[0-9]*}.*'
objects | sed -n -e "s/^\"executable\":[a-z]*,$file/\2  \1/p" -e "s/^$file/\2  \1/p" >"$sums"
if [ "$(objects | grep -cF '"sha256":"')" != "$(grep -c '' "$sums")" ] ||
    grep -qvxE '[0-9a-f]{64}  [A-Za-z0-9._+-]+(/[A-Za-z0-9._+-]+)*' "$sums" ||
    grep -qE '(  |/)\.\.?(/|$)' "$sums"; then
    fail 7 "bundle.json: found a file that leads out of the bundle, or one without a hash" "do not load this bundle"
fi
image='"config":"\(sha256:[0-9a-f]\{64\}\)","layers":\(\["[^]]*"\]\),"manifest":"\(sha256:[0-9a-f]\{64\}\)"'
images=$(objects | sed -n "s/^$image,\"reference\":\"\([a-z0-9][A-Za-z0-9._/:@-]*\)\"}.*/\4 \2 \1 \3/p")
parts=$(sed -n 's/^.\{66\}\(@archive@\.[0-9]*\)$/\1/p' "$sums")
[ -n "$parts" ] || fail 7 "bundle.json: found no part of @archive@" "copy the bundle again"
[ -n "$images" ] || fail 7 "bundle.json: found no image" "copy the bundle again"
each_image() { # each_image FUNCTION: calls it with a reference, its layers, and the id that it has in either store
    printf '%s\n' "$images" | while read -r reference layers config manifest; do
        "$1" "$reference" "$layers" "$config" "$manifest" || exit $?
    done
}

# --- nothing older than what the tool has brought here ----------------------------------------------------------------
had=$state/sequences.json
require_newer() { # require_newer WHAT: fails where a line of sequences.json on stdin has a higher number
    sed -n 's/.*: \([0-9]*\),\{0,1\}$/\1/p' | while read -r number; do
        [ "$number" -le "$sequence" ] ||
            fail 7 "the bundle: has sequence $sequence, expected at least $number: a newer one for $1 was imported" \
                "take a newer bundle; the tool takes this one all the same: ./paddock import --allow-older FOLDER"
    done
}
newer_image() { # a name does not move to an older image
    grep -F -- "\"name:$1@sha256:" "$had" | grep -vF -- "@$3\"" | require_newer "$1" || return
    ! grep -qF '"stack":null' "$root" || grep -F -- "\"image:${1%:*}\":" "$had" | require_newer "$1"
}
if [ -n "$sequence" ]; then
    [ "$sequence" -le $(($(date +%s) + 86400)) ] ||
        fail 7 "the bundle: has sequence $sequence, expected at most a day ahead of this host's clock, $(date +%s)" \
            "set the clock that is wrong (date); if it is the workshop's, have the bundle signed again"
    if [ -e "$had" ]; then
        [ -r "$had" ] || fail 7 "$had: cannot be read, expected what was here" "run this as a user who may read it"
        grep -F -- "\"stack:$stack\":" "$had" | require_newer "$stack"
        each_image newer_image
    fi
fi

# --- every file -------------------------------------------------------------------------------------------------------
say "checking every file against bundle.json ..."
printf '%s  bundle.json\n' "$hash" >>"$sums"
[ -s "$scratch/SHA256SUMS" ] || fail 7 "SHA256SUMS: missing" "copy it again"
if grep -qvxFf "$sums" "$scratch/SHA256SUMS" || grep -qvxFf "$scratch/SHA256SUMS" "$sums"; then
    fail 7 "SHA256SUMS: does not say what bundle.json says" "take the bundle from the workshop again"
fi
sed 's/^.\{66\}//' "$sums" >"$scratch/names"

refuse_stray() { # refuse_stray FOLDER NAME: fails for a file that is not of the bundle, and where a folder has one
    if [ -d "$1/$2" ] && [ ! -L "$1/$2" ]; then
        for path in "$1/$2"/* "$1/$2"/.[!.]* "$1/$2"/..?*; do
            ! is_there "$path" || refuse_stray "$1" "${path#"$1/"}"
        done
        return
    fi
    case ${2##*/} in # file managers leave these on media
        ._* | .[Dd][Ss]_[Ss]tore* | [Tt]humbs.db* | [Dd]esktop.ini*) return ;;
    esac
    case $2 in
        *[!A-Za-z0-9._+/-]*) ;;
        *) ! grep -qixF -- "$2" "$scratch/names" || return 0 ;; # FAT keeps names in capital letters
    esac
    fail 7 "$(shown "$1/$2"): is not a file of this bundle" "remove it"
}
tops=$(sed -n 's|/.*||p' "$scratch/names" | sort -u)
printf '%s\n' "$media" | while IFS= read -r folder; do
    for name in $tops; do
        [ ! -e "$folder/$name" ] || refuse_stray "$folder" "$name"
    done
    for path in "$folder/@archive@."*; do
        ! is_there "$path" || refuse_stray "$folder" "${path#"$folder/"}"
    done
done

bundle=$scratch/bundle
mkdir "$bundle"
cp "$root" "$bundle/"
take() { # take NAME PATH
    mkdir -p "$bundle/$(dirname -- "$1")" || return
    case $1 in
        @archive@.*) ln -s "$2" "$bundle/$1" ;;
        *) cat "$2" >"$bundle/$1" ;;
    esac
}
while read -r _ name; do
    found=$(where_is "$name")
    if [ -z "$found" ] || [ "$name" = bundle.json ]; then continue; fi # a missing one is named below
    take "$name" "$found" 2>"$output" ||
        fail 7 "$name: cannot be copied: $(cat "$output")" "see that $bundle has room, or set TMPDIR to another folder"
done <"$sums"
cd "$bundle"
sha256sum -c "$sums" >"$output" 2>&1 || {
    grep -v ': OK$' "$output" >&2
    fail 7 "the bundle: the files named above are missing or damaged" "copy them again, then run this again"
}
objects | sed -n 's/^"executable":true,"path":"\([^"]*\)".*/\1/p' | while read -r name; do chmod +x "$name"; done
[ $check = no ] || { say "every file is as it was written"; exit 0; }

# --- load -------------------------------------------------------------------------------------------------------------
id_of() { docker image inspect --format '{{.Id}}' "$1" 2>/dev/null || true; }
layers_of() { docker image inspect --format '{{json .RootFS.Layers}}' "$1" 2>/dev/null || true; }
is_here() { docker image inspect "$1" >/dev/null 2>&1; }
is_ours() { [ "$(id_of "$1")" = "$3" ] || [ "$(id_of "$1")" = "$4" ]; }
keep() { # under a name of its own until all is proven; one that an earlier, cut run left is the older truth
    if is_here "$1-before"; then return; fi
    if ! is_here "$1"; then
        printf '%s\n' "$1" >>"$absent"
    elif ! is_ours "$@"; then
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
    is_ours "$@" || fail 7 "$1: found the image $(id_of "$1"), expected $3 or $4" "the medium gave other bytes"
    now=$(docker image inspect --format '{{.Os}}/{{.Architecture}}' "$1")
    [ "$now" = "$platform" ] || fail 7 "$1: found an image for $now, expected $platform" "carry another bundle"
}

absent=$scratch/absent
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
cp -Rp stack/. "$into/"
if [ -e "$into/.env" ]; then # the site's settings stay, but which images belong to the stack, the bundle decides
    of_images='^(@of_the_bundle@)='
    cp -p "$into/.env" "$into/.env.partial" # its mode stays, too: it may hold passwords
    {
        grep -vE "$of_images" "$into/.env" || true
        grep -E "$of_images" stack/.env.example || true
    } >"$into/.env.partial"
    mv "$into/.env.partial" "$into/.env"
else
    cp stack/.env.example "$into/.env"
fi
say "the stack's folder: $into (settings: $into/.env)"
[ $start = yes ] || exit 0
cd "$into"
docker compose up --detach --wait
say "$stack runs"
