#!/bin/sh
# Before a package's own scripts run: is each file the one that the lock names?
set -eu
[ -z "${LOCKING-}" ] || exit 0
python3 "$IMAGE/lock.py" check "$IMAGE/packages.lock" "$1/var/cache/apt/archives" > "$1/not-as-locked"
