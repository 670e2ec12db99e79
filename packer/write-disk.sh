#!/bin/sh
# Writes a raw disk onto the one empty disk of this machine, and reads it back. On AWS, as root: write-disk.sh RAW
set -eu
raw=$1

is_empty() {
    [ -z "$(lsblk --noheadings --output PTTYPE,FSTYPE,MOUNTPOINT "$1" | tr -d ' \n')" ]
}

set --
for disk in $(lsblk --nodeps --noheadings --paths --output NAME); do
    ! is_empty "$disk" || set -- "$@" "$disk"
done
if [ $# -ne 1 ]; then
    echo "One empty disk is needed, to write the image to; this machine has $#: $*" >&2
    exit 1
fi

echo "Writing $raw to $1"
# Past the memory, so that it is the disk that is read afterwards.
dd if="$raw" of="$1" bs=4M oflag=direct conv=fsync,notrunc status=none
cmp --bytes="$(stat --format=%s "$raw")" "$raw" "$1" || { echo "$1 does not hold what was written to it." >&2; exit 1; }
