#!/bin/bash
# Serves PostgreSQL for the jobs service: makes the cluster and its password at the first start, then becomes the server.
# The password lies in a volume that the jobs service mounts read-only; it is in no image, argument list or log.
set -euo pipefail

readonly data=${PADDOCK_DATABASE_DIR:-/var/lib/paddock/data}/17
readonly key=${PADDOCK_DATABASE_KEY_FILE:-/var/lib/paddock/database/key}

# Two servers on one folder destroy it, and a container does not see the processes of another one.
exec 9> "${data%/*}/lock"
if ! flock --nonblock 9; then
    echo "error: ${data%/*}: another server works on this volume; stop it first: docker ps --filter volume=..." >&2
    exit 1
fi

# PostgreSQL asks for the name of its uid.
if ! getent passwd "$(id -u)" > /dev/null; then
    export NSS_WRAPPER_PASSWD=/tmp/passwd NSS_WRAPPER_GROUP=/etc/group LD_PRELOAD=libnss_wrapper.so
    printf 'paddock:x:%s:%s::/tmp:/bin/false\n' "$(id -u)" "$(id -g)" > /tmp/passwd
fi

if [ ! -s "$key" ]; then
    umask 027
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$key.part"
    mv "$key.part" "$key"
fi
if [ ! -s "$data/PG_VERSION" ]; then
    older=$(find "${data%/*}" -mindepth 2 -maxdepth 2 -name PG_VERSION -print -quit)
    if [ -n "$older" ]; then
        echo "error: ${older%/PG_VERSION}: found data of another version of PostgreSQL, expected ${data##*/}; docs/reference/jobs-api.md says how to take jobs over" >&2
        exit 1
    fi
    rm -rf "$data.part"
    initdb --pgdata "$data.part" --username postgres --auth trust --encoding UTF8 --locale C --data-checksums \
        --no-instructions > /dev/null
    # One statement a line. The jobs service is no superuser, and enters by the network and with the password only.
    printf '%s\n' "CREATE ROLE jobs LOGIN PASSWORD '$(< "$key")';" 'CREATE DATABASE jobs OWNER jobs;' |
        postgres --single -D "$data.part" postgres > /dev/null
    mv "$data.part" "$data"
    sync "${data%/*}"
fi
printf '%s\n' 'local all postgres trust' 'host jobs jobs samenet scram-sha-256' > /tmp/pg_hba.conf

# The lock says that nobody else runs; the number in a file of a killed container may be that of any process here.
rm -f "$data/postmaster.pid"
exec postgres -D "$data" \
    -c hba_file=/tmp/pg_hba.conf -c listen_addresses='*' -c unix_socket_directories=/tmp \
    -c shared_buffers=32MB -c max_connections=100 -c jit=off -c huge_pages=off -c dynamic_shared_memory_type=mmap \
    -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=256MB -c min_wal_size=64MB \
    -c idle_in_transaction_session_timeout=30s \
    -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 \
    -c log_line_prefix='' -c log_checkpoints=off
