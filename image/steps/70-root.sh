# Root image: read-only, read by GRUB and by the kernel

tool mksquashfs /build/root /build/root.squashfs -comp gzip -Xcompression-level 6 -b 256K -noappend -no-progress -no-xattrs -reproducible
size=$(stat -c %s "$work/root.squashfs")
budget=$(listed "$image/budget")
[ "$size" -le "$budget" ] || fail "The root image has $size bytes; image/budget allows $budget."
