# Prune: what an appliance never needs

while read -r pattern; do
    # The list is ours, and its * are meant.
    rm -rf "$root"/$pattern
done < <(listed "$image/prune.list")
chroot "$root" depmod "$kernel"
find "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/tmp" -xdev -mindepth 1 -delete
