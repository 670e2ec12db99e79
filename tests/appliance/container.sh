#!/bin/sh
# Boots a root in memory, with its own systemd, in a network namespace that exists. It ends with its parent.
#
#   unshare --mount --pid --fork --kill-child --mount-proc -- container.sh ROOT.tar.zst NETWORK-NAMESPACE PACKAGES
set -eu

mkdir -p /run/systemd
mount -t tmpfs -o mode=755 container /run/systemd
mkdir /run/systemd/root /run/systemd/bpf
mount -t bpf bpf /run/systemd/bpf
tar --directory=/run/systemd/root --extract --file="$1"
# Not exec: what ends with its parent is this shell, and it takes all others with it.
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=network systemd-nspawn \
    --register=no --keep-unit --capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN --system-call-filter=bpf --link-journal=no --resolv-conf=off --timezone=off \
    --network-namespace-path="$2" --bind=/run/systemd/bpf:/sys/fs/bpf --bind-ro="$3:/packages" \
    --machine=appliance --directory=/run/systemd/root --console=read-only --boot systemd.show_status=no
