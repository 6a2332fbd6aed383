#!/usr/bin/env bash
# Run the gate on a new Debian machine that has git and make and nothing else: no Docker, no Python, no cache.
#
# usage: fresh-machine.sh [COMMAND [ARGUMENT...]]      default: .ci/run
#   SUITE=trixie fresh-machine.sh make setup
#
# The machine is a privileged container made from Debian's packages, with its own network and an engine of its own
# inside; the last commit is cloned into it. Container, engine data and image are removed at the end.
# The site's settings go in with it: PIP_CERT, CA_BUNDLE, PIP_FIND_LINKS and WHEELHOUSE as read-only mounts below /site,
# PIP_INDEX_URL and the proxy variables as they are.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly suite=${SUITE:-bookworm}
readonly name=paddock-fresh-$$
readonly image=$name:$suite

clean_up() {
    docker rm --force --volumes "$name" >/dev/null 2>&1 || true
    docker image rm --force "$image" >/dev/null 2>&1 || true
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

given=()
for variable in PIP_CERT CA_BUNDLE PIP_FIND_LINKS WHEELHOUSE; do # files and folders
    path=${!variable-}
    [[ -e $path ]] || continue
    given+=(--volume "$(realpath "$path"):/site/$variable:ro" --env "$variable=/site/$variable")
done
for variable in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_DEFAULT_TIMEOUT http_proxy https_proxy no_proxy \
    HTTP_PROXY HTTPS_PROXY NO_PROXY WEIGHTS; do
    [[ -z ${!variable-} ]] || given+=(--env "$variable")
done

tool/paddock/building/make-base.sh "$image" "$suite"
docker run --detach --name "$name" --privileged --init --volume /var/lib/docker --volume "$PWD:/source:ro" \
    "${given[@]}" "$image" sleep infinity >/dev/null

docker exec "$name" sh -euc '
    export DEBIAN_FRONTEND=noninteractive
    rm -f /usr/sbin/policy-rc.d # an image has it, a machine does not
    apt-get update -qq
    apt-get install -qq -y git make >/dev/null 2>&1
    git -c safe.directory="*" clone --quiet --no-hardlinks /source /root/checkout
    git -C /root/checkout log -1 --format="fresh machine: commit %h, %s" >&2
'
docker exec --workdir /root/checkout "$name" "${@:-.ci/run}"
