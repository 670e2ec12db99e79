# Initrd: the drivers of every disk, from the root itself

kernel=$(basename "$root"/usr/lib/modules/*)
# The initrd and the root are compressed, by what takes less time to unpack at each boot. A module's signature is in it.
tool find /build/root/usr/lib/modules -name '*.ko.xz' -exec xz --decompress {} +
chroot "$root" depmod "$kernel"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
chroot "$root" dracut --force --kver "$kernel" /boot/initrd
umount "$root/tmp" "$root/dev" "$root/proc"
mv "$root/boot/vmlinuz-$kernel" "$root/boot/vmlinuz"
