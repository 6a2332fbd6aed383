#!/usr/bin/env bash
# What continuous integration runs, whoever offers it: one image for one platform, and then the list of its platforms.
#
# usage: publish.sh build TARGET IMAGE PLATFORM   build a target of the bake file, push it by digest, keep the digest
#        publish.sh join IMAGE PLATFORM...        make the tag from the digests of all these platforms, and sign it
# Reads IMAGE_PREFIX (with a slash at its end), VERSION, TAG (the git tag, empty on a branch); the digests are passed on
# in digests/. A login to the container registry and a builder that can push come from whoever calls this.
set -euo pipefail

usage() {
    sed -n 's/^# *\(usage: \)\{0,1\}publish.sh/usage: publish.sh/p' "$0" >&2
    exit 2
}

case ${1-}:$# in
    build:4 | join:[3-9]) ;;
    *) usage ;;
esac

cd "$(dirname "$0")/.."
readonly prefix=${IMAGE_PREFIX,,} # container registries know no capital letters
revision=$(git rev-parse HEAD)

if [[ -z $TAG ]]; then
    VERSION+="-${revision::12}" # a trial never takes the name of a release
elif [[ $TAG != "v$VERSION" ]]; then
    printf 'error: found the tag %s, expected v%s\n' "$TAG" "$VERSION" >&2
    exit 3
fi

build() {
    local target=$1 image=$2 platform=$3 arch=${3#*/} epoch
    # A trial may be of anybody's branch: what it leaves in its cache never gets into a release.
    local kind=${TAG:+release}
    local cache="type=registry,ref=${prefix}cache:$image-$arch-${kind:-trial}"
    epoch=$(git log -1 --format=%ct)
    export VERSION SOURCE_DATE_EPOCH=$epoch REVISION=$revision
    CREATED=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
    export CREATED
    mkdir -p digests
    docker buildx bake --progress=plain --file images/docker-bake.hcl "$target" \
        --set "*.platform=$platform" \
        --set "*.tags=$prefix$image" \
        --set "*.output=type=image,push-by-digest=true,name-canonical=true,push=true" \
        --set "*.cache-from=$cache" \
        --set "*.cache-to=$cache,mode=max,ignore-error=true" \
        --provenance=mode=max --sbom=true --metadata-file digests/metadata.json
    jq -er --arg target "$target" '.[$target]["containerimage.digest"]' digests/metadata.json >"digests/$image.$arch"
}

join() {
    local image=$1 platform digest sources=()
    shift
    for platform in "$@"; do
        digest=$(<"digests/$image.${platform#*/}") # not built for one platform: nothing is published
        sources+=("$prefix$image@$digest")
    done
    docker buildx imagetools create --tag "$prefix$image:$VERSION" "${sources[@]}"
    digest=$(docker buildx imagetools inspect --raw "$prefix$image:$VERSION" | sha256sum | cut -d ' ' -f 1)
    cosign sign --yes --recursive "$prefix$image@sha256:$digest"
}

"$@"
