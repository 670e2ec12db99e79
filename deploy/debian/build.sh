#!/usr/bin/env bash
# Builds the Debian packages, each in a root of its own Debian. `make deb` runs this as root, after `make setup`.
#
#   deploy/debian/build.sh FOLDER      where they go
#
# All work is done in memory, in a mount and a process namespace of its own: whatever ends the build also ends its
# processes, and takes what they made. The cache, .cache/deb, may be deleted at any time.
set -euo pipefail
umask 022

declare -A release=([bookworm]=12 [trixie]=13) python=([bookworm]=3.11 [trixie]=3.13)

tree=$(cd "$(dirname "$0")/../.." && pwd)
here=$tree/deploy/debian
cache=$tree/.cache/deb
work=$cache/work
pip=("$tree/.venv/bin/python" -m pip --quiet --disable-pip-version-check)

supervise() {
    mkdir -p "$work" "$1"
    exec 9> "$cache/lock"
    flock 9
    find "$cache" -maxdepth 1 -name '*.part' -exec rm -r {} +
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc -- "$0" \
        --inside "$(realpath "$1")" 9>&-
}

settings() {
    out=$1
    mount -t tmpfs -o mode=755 build "$work"
    SOURCE_DATE_EPOCH=$(git -c safe.directory="$tree" -C "$tree" log -1 --format=%ct 2>/dev/null ||
        date --date="$(sed -n '/^ -- /{s/.*>  //p;q}' "$here/changelog")" +%s)
    export SOURCE_DATE_EPOCH
    export LC_ALL=C.UTF-8 TZ=UTC DEBIAN_FRONTEND=noninteractive TMPDIR=$work
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    unset LANG LANGUAGE
}

# Both at a time. What they print goes to a log each, and what they `say` to the terminal.
build_all() {
    local suite status=0
    declare -A jobs=()
    exec 3>&1
    "${pip[@]}" wheel --no-deps --no-build-isolation --no-index --wheel-dir "$work/own" "$tree"
    for suite in "${!release[@]}"; do
        build > "$cache/$suite.log" 2>&1 &
        jobs[$suite]=$!
    done
    for suite in "${!jobs[@]}"; do
        wait "${jobs[$suite]}" || { status=1; complain; }
    done
    return $status
}

complain() {
    tail -n 25 "$cache/$suite.log"
    say "failed; all of it is in $cache/$suite.log"
}

say() {
    echo "Debian ${release[$suite]}: $*" >&3
}

build() {
    local root=root-$suite-$(name_of "$here/build-packages.list").tar.zst
    local wheels=wheels-$suite-$(name_of "$tree/collector/requirements.lock")
    cached "$root" make_root
    cached "$wheels" fetch_wheels
    lay_source "$cache/$wheels" "$work/$suite-source"
    local package=package-$suite-$(name_of_all "$work/$suite-source")
    cached "$package" make_package "$cache/$root"
    rm -f "$out"/collector_*~deb"${release[$suite]}"_*.deb
    cp "$cache/$package"/*.deb "$out"
    say "$(basename "$out")/$(basename "$cache/$package"/*.deb)"
}

name_of() {
    sha256sum < "$1" | cut -c -16
}

name_of_all() {
    (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum; echo "$SOURCE_DATE_EPOCH") | sha256sum | cut -c -16
}

# cached NAME COMMAND ...: the command makes the file or folder that its last argument names; older ones are deleted.
cached() {
    local path=$cache/$1
    shift
    [ ! -e "$path" ] || return 0
    "$@" "$path.part"
    find "$cache" -maxdepth 1 -name "$(basename "${path%-*}")-*" ! -name '*.part' -exec rm -r {} +
    mv "$path.part" "$path"
}

make_root() {
    say "making the root to build in, once"
    local packages
    packages=$(sed 's/#.*//; /^$/d' "$here/build-packages.list" | paste -sd,)
    mmdebstrap --variant=apt --format=tar --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
        --include="$packages" "$suite" | zstd --quiet -1 > "$1"
}

fetch_wheels() {
    say "fetching the Python libraries, once"
    local machine
    machine=$(uname -m)
    "${pip[@]}" download --require-hashes --no-deps --only-binary :all: --python-version "${python[$suite]}" \
        --platform "manylinux_2_28_$machine" --platform "manylinux2014_$machine" \
        --requirement "$tree/collector/requirements.lock" --dest "$1"
}

# Debian's file name and version carry the suite, so that one repository can hold both.
lay_source() {
    mkdir "$2"
    cp -r "$here" "$2/debian"
    rm "$2"/debian/build*
    cp -r "$tree/docs" "$tree/collector/requirements.lock" "$2"
    cp -r "$1" "$2/wheels"
    cp "$work"/own/*.whl "$2/wheels"
    sed -i "1s/)/~deb${release[$suite]})/" "$2/debian/changelog"
    local version
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$tree/pyproject.toml")
    grep -q "^collector ($version-" "$2/debian/changelog" || {
        echo "deploy/debian/changelog begins with another version than $version, pyproject.toml's: add an entry." >&2
        exit 1
    }
}

make_package() {
    say "building"
    local root=$work/$suite
    mkdir "$root"
    tar --directory "$root" --extract --file "$1"
    mv "$work/$suite-source" "$root/build"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    # It would ask for a compiler, which nothing here needs.
    inside "$root" dpkg-buildpackage --build=binary --no-sign --no-check-builddeps
    inside "$root" sh -c 'lintian --allow-root --fail-on error,warning --tag-display-limit 0 ../*.deb'
    mkdir "$2"
    cp "$root"/*.deb "$2"
}

# Without a network, and without this machine's settings: what is built is only what lies in the folder.
inside() {
    unshare --net -- chroot "$1" env --chdir=/build --ignore-environment PATH="$PATH" HOME=/root LC_ALL="$LC_ALL" \
        TZ="$TZ" SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "${@:2}"
}

case ${1-} in
    --inside)
        settings "$2"
        build_all
        ;;
    "" | -*)
        echo "usage: deploy/debian/build.sh FOLDER" >&2
        exit 2
        ;;
    *)
        supervise "$1"
        ;;
esac
