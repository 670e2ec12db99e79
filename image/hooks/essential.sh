#!/bin/sh
# The essential packages are there: the same for all others.
set -eu
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --download-only install $INCLUDE
exec "$IMAGE/hooks/extract.sh" "$1"
