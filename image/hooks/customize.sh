#!/bin/sh
# All is installed: the packages are kept for the next build.
set -eu
cp --no-clobber --preserve=timestamps "$1"/var/cache/apt/archives/*.deb "$PACKAGES"
rm "$1"/var/cache/apt/archives/*.deb
