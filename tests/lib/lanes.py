"""Tests in several processes at a time (pytest-xdist): what each of them has of its own."""

from __future__ import annotations

import ctypes
import os
import subprocess
from functools import cache

from collector.operate.lab import BPFFS

CLONE_NEWNS = 0x00020000  # linux/sched.h


@cache
def own_mounts() -> None:
    """A BPF file system that no other process sees, for the rest of this one: `collector` lets one at a time
    change what is in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot have mounts of its own")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    while BPFFS.is_mount():
        subprocess.run(["umount", BPFFS], check=True)
    subprocess.run(["mount", "-t", "bpf", "bpf", BPFFS], check=True)


def own_cpu() -> int:
    """To stay on: another one than the other processes'."""
    number = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    cpus = sorted(os.sched_getaffinity(0), reverse=True)
    return cpus[int(number) % len(cpus)]
