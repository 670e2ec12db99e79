#!/usr/bin/env bash
# Builds the appliance: one root image, and the disks made of it. `make image` runs this as root.
#
#   image/build.sh FOLDER      where the results go; what is there under the same names is replaced
#   image/build.sh --lock      only writes packages.lock anew
#
# LOCKED=1: no package may be another than packages.lock names.
#
# Every step of steps/ is run in turn, in a mount and a process namespace of its own: whatever ends the build also
# ends its processes and its mounts. No loop device is used. The cache, .cache/image, may be deleted at any time.
set -euo pipefail
umask 022

tree=$(cd "$(dirname "$0")/.." && pwd)
cache=$tree/.cache/image
log=$cache/build.log

supervise() {
    mkdir -p "$cache"
    exec 9> "$cache/lock"
    flock --nonblock 9 || { echo "Another build is running in this folder." >&2; exit 1; }
    work=$cache/work
    inside=
    local status=0
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    rm -rf "$work"
    mkdir "$work"
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc -- "$0" --inside "$@" 9>&- &
    inside=$!
    wait "$inside" || status=$?
    inside=
    exit $status
}

clean_up() {
    if [ -n "$inside" ]; then
        # What runs inside, and with it all that it started; or, in its first moment, what would start it.
        pkill -KILL --parent "$inside" || kill -KILL "$inside" || true
        wait "$inside" || true
    fi
    rm -rf --one-file-system "$work"
}

settings() {
    out=$(realpath "$1")
    work=$cache/work
    image=$tree/image
    root=$work/root
    tools=$work/tools
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$tree/pyproject.toml")
    commit=$(git_here rev-parse HEAD)
    SOURCE_DATE_EPOCH=$(git_here log -1 --format=%ct)
    name=collector-$version
    export SOURCE_DATE_EPOCH
    export IMAGE=$image PACKAGES=$cache/packages
    export LC_ALL=C.UTF-8 TZ=UTC HOME=/root DEBIAN_FRONTEND=noninteractive
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    unset LANG LANGUAGE TMPDIR
}

# Under sudo the checkout is another user's, which git refuses to read unless told that it is fine.
git_here() {
    git -c safe.directory="$tree" -C "$tree" "$@"
}

# The lines of a list without its comments.
listed() {
    sed 's/[[:space:]]*#.*//; /^$/d' "$1"
}

# Runs a program of the tools' root, where this build's folder is /build.
tool() {
    chroot "$tools" "$@"
}

fail() {
    echo "$*" >&2
    exit 1
}

run_steps() {
    local step number=0 started
    exec 3>&1
    exec > "$log" 2>&1
    trap complain EXIT
    for step in "$@"; do
        number=$((number + 1))
        title=$(sed -n '1s/^# //p' "$step")
        printf '[%d/%d] %s ' "$number" $# "$title" >&3
        echo "== $title"
        started=$SECONDS
        . "$step"
        printf '(%d s)\n' $((SECONDS - started)) >&3
    done
}

complain() {
    local status=$?
    [ "$status" != 0 ] || return 0
    tail -n 25 "$log" >&3
    printf '\nThe build failed in this step, with exit code %d: %s\nAll that it said is in %s\n' \
        "$status" "$title" "$log" >&3
}

write_lock() {
    export LOCKING=1 PACKAGES=$work/packages
    run_steps "$image"/steps/{10-tools,20-packages}.sh
    # In place: it stays whose it was.
    python3 "$image/lock.py" lines "$PACKAGES" > "$work/lock"
    cat "$work/lock" > "$image/packages.lock"
}

case ${1-}:${2-} in
    --inside:--lock)
        settings "$tree"
        write_lock
        ;;
    --inside:*)
        settings "$2"
        run_steps "$image"/steps/*.sh
        ;;
    --lock:*)
        supervise --lock
        ;;
    :|-*)
        echo "usage: image/build.sh FOLDER" >&2
        exit 2
        ;;
    *)
        mkdir -p "$1"
        supervise "$1"
        ;;
esac
