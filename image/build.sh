#!/usr/bin/env bash
# Builds the appliance: one root image, and the disks made of it. `make image` runs this as root.
#
#   image/build.sh FOLDER      where the results go; what is there under the same names is replaced
#
# Every step of steps/ is run in turn, in a mount and a process namespace of its own: whatever ends the build also
# ends its processes and its mounts. No loop device is used. The cache, .cache/image, may be deleted at any time.
set -euo pipefail
umask 022

tree=$(cd "$(dirname "$0")/.." && pwd)
cache=$tree/.cache/image
log=$cache/build.log

supervise() {
    mkdir -p "$cache" "$1"
    exec 9> "$cache/lock"
    flock --nonblock 9 || { echo "Another build is running in this folder." >&2; exit 1; }
    work=$cache/work
    inside=
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    rm -rf "$work"
    mkdir "$work"
    unshare --mount --pid --fork --kill-child --mount-proc -- "$0" --inside "$(realpath "$1")" 9>&- &
    inside=$!
    wait "$inside"
}

clean_up() {
    if [ -n "$inside" ]; then
        pkill -KILL --parent "$inside" || true
        wait "$inside" || true
    fi
    rm -rf --one-file-system "$work"
}

settings() {
    out=$1
    work=$cache/work
    image=$tree/image
    root=$work/root
    tools=$work/tools
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$tree/pyproject.toml")
    commit=$(git_here rev-parse HEAD)
    SOURCE_DATE_EPOCH=$(git_here log -1 --format=%ct)
    name=collector-$version
    export SOURCE_DATE_EPOCH
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
    local steps=("$image"/steps/*.sh) number=0 step title started
    exec 3>&1
    exec > "$log" 2>&1
    trap 'status=$?; [ "$status" = 0 ] || { tail -n 25 "$log"; echo "The build failed; all of it is in $log"; } >&3' EXIT
    for step in "${steps[@]}"; do
        number=$((number + 1))
        title=$(sed -n '1s/^# //p' "$step")
        printf '[%d/%d] %s ' "$number" "${#steps[@]}" "$title" >&3
        echo "== $title"
        started=$SECONDS
        . "$step"
        printf '(%d s)\n' $((SECONDS - started)) >&3
    done
}

case ${1-} in
    --inside)
        settings "$2"
        run_steps
        ;;
    ""|-*)
        echo "usage: image/build.sh FOLDER" >&2
        exit 2
        ;;
    *)
        supervise "$1"
        ;;
esac
