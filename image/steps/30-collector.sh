# Collector: the Debian package of this checkout

package=("$out/collector_$version"-*~deb13_*.deb)
[ -e "${package[0]}" ] || fail "There is no $out/collector_$version-*~deb13_*.deb: run deploy/debian/build.sh $out."
cp "${package[0]}" "$root/collector.deb"
mount -t proc proc "$root/proc"
chroot "$root" dpkg --install /collector.deb
umount "$root/proc"
rm "$root/collector.deb"
