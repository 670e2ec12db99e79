#!/bin/bash
# For dracut: what the appliance's initrd has beside dracut's own.

check() {
    return 255
}

depends() {
    echo systemd-initrd
}

install() {
    local unit
    inst_multiple e2fsck mount mkdir grep tee
    inst_rules 61-appliance-disk.rules
    for unit in appliance-check.service appliance-memory.service appliance-data.service; do
        inst_simple "$moddir/$unit" "$systemdsystemunitdir/$unit"
        $SYSTEMCTL -q --root "$initdir" add-wants initrd-fs.target "$unit"
    done
}
