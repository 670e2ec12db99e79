# What changes: /var becomes the pattern of the data partition

# Which packages there are belongs to the image, not to the data.
mkdir -p "$root/usr/lib/sysimage" "$root/usr/share/factory"
mv "$root/var/lib/dpkg" "$root/usr/lib/sysimage/dpkg"
ln -s ../../usr/lib/sysimage/dpkg "$root/var/lib/dpkg"
mv "$root/var" "$root/usr/share/factory/var"
mkdir "$root/var"
rmdir "$root/home"
ln -s var/home "$root/home"
ln -sf ../run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
