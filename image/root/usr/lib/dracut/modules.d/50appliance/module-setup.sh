#!/bin/bash
# For dracut: what the appliance's initrd has beside dracut's own.

check() {
    return 255
}

depends() {
    echo systemd-initrd
}

install() {
    local unit units="$initdir$systemdsystemunitdir"
    inst_multiple e2fsck mount mkdir grep tee
    inst_rules 61-appliance-disk.rules
    for unit in appliance-check.service appliance-memory.service appliance-data.service; do
        inst_simple "$moddir/$unit" "$systemdsystemunitdir/$unit"
        $SYSTEMCTL -q --root "$initdir" add-wants initrd-fs.target "$unit"
    done
    # What systemd makes of the real root's fstab is made here, or the initrd would have to read all its units anew once
    # it sees that file. initrd-parse-etc.service, which looks for it, has this besides.
    SYSTEMD_IN_INITRD=1 SYSTEMD_PROC_CMDLINE="" SYSTEMD_FSTAB=/dev/null SYSTEMD_SYSROOT_FSTAB=/etc/fstab \
        /usr/lib/systemd/system-generators/systemd-fstab-generator "$units" "$units" "$units"
    mkdir "$units/initrd-parse-etc.service.d"
    cp "$moddir/no-fstab-check.conf" "$units/initrd-parse-etc.service.d/"
    # Here all devices at once: disks hang on buses that the real root leaves for later.
    cp "$moddir/coldplug.conf" "$units/systemd-udev-trigger.service.d/appliance.conf"
    # Each costs a program's start, for what is of no use here or what the real root does a moment later.
    # dracut-cmdline serves dracut's own ways to find a root: systemd's generators read root= and fstab.
    $SYSTEMCTL -q --root "$initdir" mask dracut-cmdline.service kmod-static-nodes.service systemd-sysctl.service \
        systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service
}
