# Root image: read-only, read by GRUB and by the kernel

# Small blocks, and none that holds several small files: of each block the whole is unpacked to read a part of it, and
# a boot reads a thousand small files.
tool mksquashfs /build/root /build/root.squashfs -comp gzip -Xcompression-level 6 -b 64K -no-fragments -noappend -no-progress -no-xattrs -reproducible
size=$(stat -c %s "$work/root.squashfs")
budget=$(listed "$image/budget")
[ "$size" -le "$budget" ] || fail "The root image has $size bytes; image/budget allows $budget."
