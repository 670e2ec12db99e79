# Tree: what lies in root/, and the presets

# Not everybody's checkout has the same modes and times.
cp --recursive --no-dereference "$image/root" "$work/tree"
chmod -R u=rwX,go=rX "$work/tree"
find "$work/tree" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
cp --archive "$work/tree/." "$root/"
mkdir "$root/boot/env"
printf 'IMAGE_ID=collector\nIMAGE_VERSION=%s\nBUILD_ID=%s\n' "$version" "$commit" >> "$root/usr/lib/os-release"
ln -sf /usr/share/zoneinfo/UTC "$root/etc/localtime"
: > "$root/etc/machine-id"

find "$root/etc/systemd/system" -mindepth 1 -type l -delete
chroot "$root" systemctl preset-all
for unit in systemd-firstboot systemd-homed-firstboot ldconfig systemd-hwdb-update systemd-journal-catalog-update \
    systemd-update-done systemd-sysusers chrony-wait systemd-networkd-wait-online; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit.service"
done
# Nothing here uses them, and before the first frame is forwarded each costs the start of a program or two.
for unit in dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount sys-fs-fuse-connections.mount \
    sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount systemd-binfmt.service \
    systemd-udev-load-credentials.service systemd-remount-fs.service \
    kmod-static-nodes.service systemd-tmpfiles-setup-dev-early.service systemd-tmpfiles-setup-dev.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" passwd --lock root

# cloud-init warns of keys in user data that it does not know.
schema=$root/usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json
sed -i 's/^    "chpasswd": {},$/&\n    "collector": {},/' "$schema"
grep --quiet '^    "collector": {},$' "$schema" || fail "The key collector: found no place in $schema."
