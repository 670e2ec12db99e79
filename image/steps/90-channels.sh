# Channels: the disk as KVM, Hyper-V and VMware want it

# A hypervisor's disk is seldom made larger by hand: it has room from the start, and holds no more than is used.
qemu=(tool qemu-img)
"${qemu[@]}" convert -f raw -O qcow2 "/build/$name.raw" /build/roomy.qcow2
"${qemu[@]}" resize -q /build/roomy.qcow2 8G
"${qemu[@]}" convert -c -O qcow2 /build/roomy.qcow2 "/build/$name.qcow2"
"${qemu[@]}" convert -O vhdx -o subformat=dynamic,block_size=1M /build/roomy.qcow2 "/build/$name.vhdx"
tool sh -c "cd /build && zip -q -X $name.vhdx.zip $name.vhdx"
"${qemu[@]}" convert -O vmdk -o subformat=streamOptimized,adapter_type=lsilogic /build/roomy.qcow2 "/build/$name-disk1.vmdk"
sed -e "s/@VERSION@/$version/g" -e "s/@NAME@/$name/g" \
    -e "s/@SIZE@/$(stat -c %s "$work/$name-disk1.vmdk")/g" "$image/channels/collector.ovf" > "$work/$name.ovf"
(
    cd "$work"
    sha256sum --tag "$name.ovf" "$name-disk1.vmdk" | sed 's/^SHA256 (\(.*\)) = /SHA256(\1)= /' > "$name.mf"
    # The order is the standard's: the description is read while the disk still arrives.
    tar --create --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        --file "$name.ova" "$name.ovf" "$name.mf" "$name-disk1.vmdk"
)
