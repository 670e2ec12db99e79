# What grub-install would do for BIOS, without a device: core.img lies in a partition, boot.img in sector 0 points there.
# Sectors have 512 bytes.

_little_endian() {
    local value=$1 byte
    for ((byte = 0; byte < 8; byte++)); do
        printf "\\x$(printf %02x $(((value >> (8 * byte)) & 255)))"
    done
}
_patch() {
    dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# point_core_at CORE SECTOR: where the partition begins that it will lie in
point_core_at() {
    truncate --size=%512 "$1"
    _little_endian $(($2 + 1)) | _patch "$1" $((0x1f4))
}

# write_boot_sector BOOT.IMG DISK SECTOR
write_boot_sector() {
    head --bytes 440 "$1" | _patch "$2" 0
    _little_endian "$3" | _patch "$2" $((0x5c))
    printf '\x90\x90' | _patch "$2" $((0x66))
}
