#!/usr/bin/env bash
# Stop the engine that start-engine.sh started without a service manager. Never touches another one.
#
# usage: stop-engine.sh
set -euo pipefail

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

readonly pid_file=/run/paddock/dockerd.pid
readonly wait_seconds=60

is_ours() { # the number may have gone to another program since
    [[ $(cat "/proc/$1/comm" 2>/dev/null) == dockerd ]] && tr '\0' '\n' <"/proc/$1/cmdline" | grep -qxF "$pid_file"
}

pid=$(cat "$pid_file" 2>/dev/null || true)
if [[ -z $pid ]] || ! is_ours "$pid"; then
    say "no engine of ours runs; nothing to stop"
    exit 0
fi
say "stopping dockerd, process $pid"
kill -TERM "$pid"
for ((second = 0; second < wait_seconds; second++)); do
    is_ours "$pid" || exit 0
    sleep 1
done
printf 'error: %s: dockerd, process %s, still runs %s s after it was asked to stop\n' "${0##*/}" "$pid" "$wait_seconds" >&2
printf 'hint: look at /run/paddock/dockerd.log\n' >&2
exit 5
