# Initrd: the drivers of every disk, from the root itself

kernel=$(basename "$root"/usr/lib/modules/*)
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
chroot "$root" dracut --force --kver "$kernel" /boot/initrd
umount "$root/tmp" "$root/dev" "$root/proc"
mv "$root/boot/vmlinuz-$kernel" "$root/boot/vmlinuz"
