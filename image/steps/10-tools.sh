# Tools: the programs that build, in a root of their own

# The archives that this machine's apt uses, unless others are named, as of a certain day.
archives() { apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' | sort -u; }
mirror=${MIRROR:-$(archives | grep --invert-match security | sed 1q)}
security=${SECURITY_MIRROR:-$(archives | grep security | sed 1q)}
sources=(
    "deb $mirror trixie main"
    "deb $mirror trixie-updates main"
    "deb $security trixie-security main"
)
# hooks/ see to it that it is what packages.lock names, as far as Debian still has it.
install_debian() {
    local list
    list=$(listed "$1")
    mkdir -p "$PACKAGES"
    # Its own temporary folder too: it is left behind when the build is interrupted.
    INCLUDE=$list TMPDIR=$work mmdebstrap --mode=root --variant=essential --include="$(echo $list | tr ' ' ,)" \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --hook-dir="$image/hooks" \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Retries "3"' \
        --dpkgopt="$image/dpkg.cfg" \
        --skip=download/empty --skip=essential/unlink \
        trixie "$2" "${sources[@]}"
}

packed=$cache/tools-$(cat "$image"/{tools.list,dpkg.cfg,packages.lock} | sha256sum | cut -c 1-16).tar
if [ -n "${LOCKING-}" ]; then
    install_debian "$image/tools.list" "$tools"
elif [ ! -e "$packed" ]; then
    install_debian "$image/tools.list" "$tools"
    rm -f "$cache"/tools-*.tar
    tar --create --file "$packed.part" --directory "$tools" --one-file-system .
    mv "$packed.part" "$packed"
else
    mkdir "$tools"
    tar --extract --file "$packed" --directory "$tools"
fi
mkdir "$tools/build"
mount --bind "$work" "$tools/build"
mount -t proc proc "$tools/proc"
mount --bind /dev "$tools/dev"
