#!/bin/sh
# Before apt runs: the versions of the lock, and those of its packages that the cache has.
set -eu
mkdir -p "$1/var/cache/apt/archives"
[ -z "${LOCKING-}" ] || exit 0
python3 "$IMAGE/lock.py" preferences "$IMAGE/packages.lock" > "$1/etc/apt/preferences.d/locked"
python3 "$IMAGE/lock.py" known "$IMAGE/packages.lock" "$PACKAGES" |
    xargs --no-run-if-empty cp --preserve=timestamps --target-directory "$1/var/cache/apt/archives"
