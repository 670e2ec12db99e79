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
install_debian() {
    local list=$1 folder=$2
    mkdir -p "$cache/packages"
    mmdebstrap --mode=root --variant=essential --include="$(listed "$list" | paste -sd,)" \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Retries "3"' \
        --dpkgopt="$image/dpkg.cfg" \
        --skip=download/empty --skip=essential/unlink \
        --setup-hook='mkdir -p "$1/var/cache/apt/archives"' \
        --setup-hook="cp --preserve=timestamps $cache/packages/*.deb \"\$1/var/cache/apt/archives/\" || true" \
        --customize-hook="cp --no-clobber --preserve=timestamps \"\$1\"/var/cache/apt/archives/*.deb $cache/packages/" \
        --customize-hook='rm -f "$1"/var/cache/apt/archives/*.deb' \
        trixie "$folder" "${sources[@]}"
}

packed=$cache/tools-$(cat "$image/tools.list" "$image/dpkg.cfg" | sha256sum | cut -c 1-16).tar
if [ ! -e "$packed" ]; then
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
