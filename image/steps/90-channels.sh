# Channels: the disk as KVM, Hyper-V and VMware want it

# A hypervisor's disk is seldom made larger by hand: it has room from the start, and holds no more than is used.
qemu=(tool qemu-img)
"${qemu[@]}" convert -f raw -O qcow2 "/work/$name.raw" /work/roomy.qcow2
"${qemu[@]}" resize -q /work/roomy.qcow2 8G
"${qemu[@]}" convert -c -O qcow2 /work/roomy.qcow2 "/work/$name.qcow2"
"${qemu[@]}" convert -O vhdx -o subformat=dynamic,block_size=1M /work/roomy.qcow2 "/work/$name.vhdx"
tool sh -c "cd /work && zip -q -X $name.vhdx.zip $name.vhdx"
"${qemu[@]}" convert -O vmdk -o subformat=streamOptimized,adapter_type=lsilogic /work/roomy.qcow2 "/work/$name-disk1.vmdk"
sed -e "s/@VERSION@/$version/g" -e "s/@NAME@/$name/g" \
    -e "s/@SIZE@/$(stat -c %s "$work/$name-disk1.vmdk")/g" "$image/channels/collector.ovf" > "$work/$name.ovf"
(
    cd "$work"
    sha256sum --tag "$name.ovf" "$name-disk1.vmdk" | sed 's/^SHA256 (\(.*\)) = /SHA256(\1)= /' > "$name.mf"
    # The order is the standard's: the description is read while the disk still arrives.
    tar --create --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        --file "$name.ova" "$name.ovf" "$name.mf" "$name-disk1.vmdk"
)
