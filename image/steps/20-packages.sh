# Packages: Debian, as packages.list names it

INITRD=No install_debian "$image/packages.list" "$root"
if [ -z "${LOCKING-}" ]; then
    sort --unique "$tools/not-as-locked" "$root/not-as-locked" > "$work/not-as-locked"
    rm "$root/not-as-locked"
fi
if [ -s "$work/not-as-locked" ]; then
    cat "$work/not-as-locked"
    [ "${LOCKED-}" != 1 ] || fail "LOCKED=1, and these packages are not as image/packages.lock has them."
    printf '\n%s\n%s\n' \
        "WARNING: $(wc -l < "$work/not-as-locked") packages are not as image/packages.lock has them; the manifest names them." \
        "Debian has replaced them, or a list was changed. \`make image-lock\` writes the lock anew." >&3
fi
