# Disk: GRUB for BIOS and UEFI, two slots, data

# In sectors of 512 bytes: where the first partition, GRUB's own, begins.
first=2048

. "$image/disk/boot-sector.sh"

mkdir -p "$work/esp/EFI/BOOT" "$work/esp/EFI/debian" "$work/env"
cp "$tools/usr/lib/shim/shimx64.efi.signed" "$work/esp/EFI/BOOT/BOOTX64.EFI"
cp "$tools/usr/lib/shim/mmx64.efi.signed" "$work/esp/EFI/BOOT/mmx64.efi"
cp "$tools/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$work/esp/EFI/BOOT/grubx64.efi"
cp "$image/disk/grub.cfg" "$work/esp/EFI/debian/grub.cfg"
cp -r "$image/disk/repart" "$work/repart"
tool grub-editenv /build/env/grubenv create
tool grub-editenv /build/env/grubenv set PRIMARY=A A_OK=1 A_TRY=0 A_GOOD=1 B_OK=0 B_TRY=0 B_GOOD=0
cp "$work/env/grubenv" "$work/env/grubenv.copy"
find "$work/esp" "$work/env" -exec touch --date "@$SOURCE_DATE_EPOCH" {} +

tool grub-mkimage --format i386-pc --prefix '(,gpt2)/EFI/debian' --output /build/core.img \
    $(listed "$image/disk/grub-modules.list")
point_core_at "$work/core.img" $first

seed=5f1c4f5b-3c6e-4c0b-9a3c-8a8f1d6f7b10
tool env "SYSTEMD_REPART_MKFS_OPTIONS_EXT4=-E hash_seed=$seed" "SYSTEMD_REPART_MKFS_OPTIONS_EXT2=-E hash_seed=$seed" \
    systemd-repart --offline=yes --empty=create --size=auto --sector-size=512 --seed="$seed" \
    --definitions=/build/repart --dry-run=no --no-pager "/build/$name.raw"
[ "$(tool sfdisk --dump "/build/$name.raw" | sed -n 's/.*raw1 : start= *\([0-9]*\),.*/\1/p')" = "$first" ] ||
    fail "The partition of GRUB for BIOS does not begin at sector $first."
write_boot_sector "$tools/usr/lib/grub/i386-pc/boot.img" "$work/$name.raw" $first
