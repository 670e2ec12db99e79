#!/usr/bin/env bash
# Builds a Debian 13 of the appliance's kernel and nothing of the collector, which forwards by the vendor's recipe.
# The benchmark of the time from power on needs it: what does the appliance cost, beside what everybody has?
#
#   bare/build.sh DISK      writes a raw disk; needs the tools that image/build.sh has packed in .cache/image
set -euo pipefail
umask 022

here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../../.." && pwd)
cache=$tree/.cache/image

if [ "${1-}" != --inside ]; then
    disk=$(realpath "$1")
    work=$(mktemp --directory --tmpdir="$cache")
    trap 'rm -rf --one-file-system "$work"' EXIT
    trap 'exit 130' INT TERM
    unshare --mount --pid --fork --kill-child --mount-proc -- "$0" --inside "$work"
    mv "$work/bare.raw" "$disk"
    exit
fi

work=$2
root=$work/root
tools=$work/tools
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
packages() { sed 's/[[:space:]]*#.*//; /^$/d' "$1" | paste -sd,; }
archive() { apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | grep "$@" | sort -u | sed 1q; }

mkdir "$tools"
tar --extract --file "$cache"/tools-*.tar --directory "$tools"
mmdebstrap --mode=root --variant=essential --include="$(packages "$here/packages.list")" \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --aptopt='APT::Install-Recommends "false"' \
    --skip=download/empty --skip=essential/unlink --setup-hook='mkdir -p "$1/var/cache/apt/archives"' \
    --setup-hook="cp $cache/packages/*.deb \"\$1/var/cache/apt/archives/\"" \
    --customize-hook='rm -f "$1"/var/cache/apt/archives/*.deb' \
    trixie "$root" "deb $(archive --invert-match security) trixie main" \
    "deb $(archive --invert-match security) trixie-updates main" "deb $(archive security) trixie-security main"
cp --recursive --no-dereference "$here/root/." "$root/"
chroot "$root" systemctl enable systemd-networkd ssh

mkdir "$tools/build"
mount --bind "$work" "$tools/build"
mount -t proc proc "$tools/proc"
mount --bind /dev "$tools/dev"
cp -r "$here/repart" "$work/repart"
chroot "$tools" grub-mkimage --format i386-pc --prefix '(,gpt2)/boot/grub' --output /build/core.img \
    $(packages "$tree/image/disk/grub-modules.list" | tr , ' ')
. "$tree/image/disk/boot-sector.sh"
point_core_at "$work/core.img" 2048
chroot "$tools" systemd-repart --offline=yes --empty=create --size=2G --sector-size=512 --definitions=/build/repart \
    --dry-run=no --no-pager /build/bare.raw
write_boot_sector "$tools/usr/lib/grub/i386-pc/boot.img" "$work/bare.raw" 2048
