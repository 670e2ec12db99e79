#!/usr/bin/env bash
# Builds the appliance twice from this commit, each time from a fresh copy in a folder of its own and with an empty
# cache, and compares the root images and the disks byte for byte. `make repro` runs this as root. Debian may replace a
# version between the two, so they take what packages.lock names and nothing else, unless LOCKED=0 is set.
set -euo pipefail

tree=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp --directory)
trap 'rm -rf --one-file-system "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Named from here; the builds run elsewhere.
for file in SIGNING_KEY SIGNING_CERT SIGNING_KEYRING; do
    [ -z "${!file-}" ] || export "$file=$(realpath "${!file}")"
done

git_here() {
    git -c safe.directory='*' "$@"
}

for copy in one another/place; do
    mkdir -p "$folder/$copy"
    git_here clone --quiet "$tree" "$folder/$copy/tree"
    echo "Building in $folder/$copy/tree"
    LOCKED=${LOCKED-1} make --no-print-directory -C "$folder/$copy/tree" image
    # Whom an image trusts is in it: without a key given, the second gets that of the first.
    : "${SIGNING_KEY:=$folder/one/tree/.cache/image/development.key}"
    : "${SIGNING_CERT:=$folder/one/tree/.cache/image/development.pem}"
    export SIGNING_KEY SIGNING_CERT
done
cd "$folder"
for result in squashfs raw iso; do
    cmp one/tree/dist/*."$result" another/place/tree/dist/*."$result"
    echo "The same, byte for byte: $(basename one/tree/dist/*."$result")"
done
