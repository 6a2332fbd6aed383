#!/bin/sh
# Healthcheck of the jobs service's database: healthy once it answers a question.
set -eu

psql --host /tmp --username postgres --dbname jobs --no-psqlrc --tuples-only --command 'SELECT 1' > /dev/null
