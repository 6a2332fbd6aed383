#!/bin/sh
# Starts FastDeploy with the options of its configuration file: one a line, without the dashes, `#` comments.
# The API key travels in this process's environment only; versions that do not know FD_API_KEY leave it unread.
set -eu
. /opt/paddock/key.sh
FD_API_KEY=$(cat "$PADDOCK_KEY_FILE")
export FD_API_KEY

# FastDeploy logs to files, each request with its whole image: keep them from filling /tmp.
mkdir -p "$FD_LOG_DIR"
while sleep 30; do
    find "$FD_LOG_DIR" -type f -size +32M -exec truncate -s 0 {} +
done &

while read -r option value; do
    case $option in '' | '#'*) continue ;; esac
    set -- "$@" "--$option" ${value:+"$value"}
done < "${PADDOCK_CONFIG:-/etc/paddock/vlm.conf}"
exec python -m fastdeploy.entrypoints.openai.api_server "$@"
