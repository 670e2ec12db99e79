# Prune: what an appliance never needs: files, and rights

while read -r pattern; do
    # The list is ours, and its * are meant.
    rm -rf "$root"/$pattern
done < <(listed "$image/prune.list")
chroot "$root" depmod "$kernel"
find "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/tmp" -xdev -mindepth 1 -delete

# dpkg's own database of exceptions would do the same for one path each; this is all but one.
find "$root" -xdev -type f -perm /6000 -printf '%P\n' | grep --invert-match --line-regexp --fixed-strings \
    --file <(listed "$image/setuid.list") | sed "s|^|$root/|" | xargs --delimiter '\n' chmod ug-s
