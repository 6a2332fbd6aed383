#!/usr/bin/env bash
# Start the installed Docker Engine unless one answers, and wait until it does.
#
# usage: start-engine.sh
# With systemd: its docker service, enabled. Without (containers, minimal virtual machines): dockerd on its own, detached,
# with its pid and log in /run/paddock; stop-engine.sh ends that one and no other.
# DOCKER_DATA_ROOT moves the engine's data (default /var/lib/docker) to a disk with more room; only without systemd.
set -euo pipefail

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
fail() { # fail STATUS MESSAGE HINT
    printf 'error: %s: %s\nhint: %s\n' "${0##*/}" "$2" "$3" >&2
    exit "$1"
}

readonly state=/run/paddock
readonly log=$state/dockerd.log pid_file=$state/dockerd.pid
readonly data_root=${DOCKER_DATA_ROOT:-/var/lib/docker}
readonly wait_seconds=60 room_wanted_gb=35

answers() { docker info >/dev/null 2>&1; }

wait_for_answer() { # wait_for_answer WHERE-ITS-LOG-IS [PID]
    local second
    for ((second = 0; second < wait_seconds; second++)); do
        answers && return
        [[ -z ${2-} ]] || kill -0 "$2" 2>/dev/null || break # it died: no use waiting
        sleep 1
    done
    [[ ! -f $log ]] || tail -n 15 "$log" | sed 's/^/  | /' >&2
    fail 5 "the Docker Engine did not come up" "$1"
}

if answers; then
    say "the Docker Engine answers already"
    exit 0
fi
((EUID == 0)) || fail 5 "starting the Docker Engine needs root" "sudo $0"
command -v dockerd >/dev/null || fail 5 "dockerd is not installed" "scripts/setup/engine.sh installs it"

if [[ -d /run/systemd/system ]]; then
    say "starting the docker service"
    systemctl enable --quiet --now docker
    wait_for_answer "journalctl -u docker"
    exit 0
fi

mkdir -p "$state" "$data_root"
free_gb=$(df --output=avail -B 1G "$data_root" | tail -n 1 | tr -d ' ')
((free_gb >= room_wanted_gb)) ||
    say "warning: $data_root has ${free_gb} GB free and the images want $room_wanted_gb; DOCKER_DATA_ROOT=DIR names a bigger disk"
if ! awk '$2 ~ "^/sys/fs/cgroup" { found = 1 } END { exit !found }' /proc/self/mounts; then
    say "mounting the control groups, which no service manager did here"
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi

say "starting dockerd (data in $data_root, log in $log)"
ulimit -n 1048576 2>/dev/null || true # every container process and mount costs some
setsid dockerd --data-root "$data_root" --pidfile "$pid_file" </dev/null >"$log" 2>&1 &
started=$!
wait_for_answer "less $log" "$started"
