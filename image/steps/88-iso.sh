# ISO: installs the same root image and the same disk

iso=$tree/iso
medium=$work/iso            # what the ISO holds
live=$work/live             # what its initrd has beside the root's own

# cut_out LABEL: a partition of the disk, as it is before the first boot
cut_out() {
    local start size
    read -r start size < <(tool sfdisk --dump "/build/$name.raw" |
        sed -n "s/.*start= *\([0-9]*\), size= *\([0-9]*\), .*name=\"$1\".*/\1 \2/p")
    dd if="$work/$name.raw" of="$live/install/images/$1.img" bs=512 skip="$start" count="$size" conv=sparse status=none
}
as_of_commit() {
    find "$@" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
}

mkdir -p "$live/install/images" "$live/install/repart" "$live/install/iso" "$medium/collector" "$medium/EFI/debian"

# The disk's partitions without their content, which is copied where its progress can be shown.
for definition in "$image"/disk/repart/*.conf; do
    sed '/^UUID=/d; /^Copy/d' "$definition" > "$live/install/repart/$(basename "$definition")"
    ! grep -q '^Copy' "$definition" || sed -i '/^Format=/d' "$live/install/repart/$(basename "$definition")"
done
for label in collector-bios collector-esp collector-env; do
    cut_out "$label"
done
head --bytes 440 "$work/$name.raw" > "$live/install/images/boot.img"
b2sum < "$work/root.squashfs" | cut -d ' ' -f 1 > "$live/install/root.b2sum"
cp -r "$iso/__init__.py" "$iso/installer" "$live/install/iso/"
rm -rf "$live/install/iso/installer/__pycache__"
cp -r "$iso/units" "$iso/ended.txt" "$live/install/"
cp -r "$iso/initrd/." "$live/"
chmod -R u=rwX,go=rX "$live"
as_of_commit "$live"
tool sh -c 'cd /build/live && find . | LC_ALL=C sort | cpio --quiet --create --format=newc --reproducible --owner=0:0 |
    zstd --quiet -19 --threads=1 -o /build/iso/collector/install.cpio'

ln "$work/root.squashfs" "$medium/collector/root.squashfs"
cp -r "$work/esp/EFI" "$medium/"
cp "$iso/grub.cfg" "$medium/EFI/debian/grub.cfg"
# BIOS starts this one; signed GRUB for UEFI is told by a small file system, which holds the same as the folder EFI.
tool grub-mkimage --format i386-pc-eltorito --prefix /EFI/debian --output /build/iso/collector/bios.img \
    $(listed "$iso/grub-modules.list")
as_of_commit "$medium/EFI" "$medium/collector"
tool mkfs.vfat -C -i 7b1c0de5 -n COLLECTOR_I --invariant /build/iso-esp.img 8192 > /dev/null
# In an order of its own: a folder's is not the same on every machine.
tool sh -c 'cd /build/iso && for name in EFI EFI/BOOT EFI/debian; do mmd -i /build/iso-esp.img ::$name; done &&
    for name in EFI/*/*; do mcopy -m -i /build/iso-esp.img $name ::$name; done'
tool xorriso -as mkisofs -quiet -o "/build/$name.iso" -volid COLLECTOR_ISO -rational-rock -joliet \
    --set_all_file_dates "$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)" \
    --modification-date="$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S00)" \
    --grub2-mbr /usr/lib/grub/i386-pc/boot_hybrid.img -partition_offset 16 \
    -append_partition 2 0xef /build/iso-esp.img \
    -b collector/bios.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info \
    -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot \
    /build/iso

bytes=$(stat -c %s "$work/$name.iso")
[ "$bytes" -le "$(listed "$iso/budget")" ] || fail "The ISO has $bytes bytes; iso/budget allows $(listed "$iso/budget")."
