# Packages: Debian, as packages.list names it

INITRD=No install_debian "$image/packages.list" "$root"
