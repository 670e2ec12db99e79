"""Writes a disk, and reads it back. systemd-repart lays it out and makes the data's file system."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from iso.installer import medium
from iso.installer.disks import Disk
from iso.installer.errors import InstallError
from iso.installer.layout import DATA, Layout
from iso.installer.medium import CHUNK, Image, Progress

LOG = "log/collector-install.log"  # on the data partition, which is /var later
RAUC_NOTES = "lib/rauc/central.raucs"
LONGEST = 60.0  # seconds
_BLKFLSBUF = 0x1261

Log = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    disk: Disk
    nodes: Mapping[str, Path]  # its partitions, by label


def lay_out(disk: Disk, log: Log) -> None:
    """Everything anew, with numbers that no other disk has."""
    _run(["systemd-repart", f"--definitions={medium.DEFINITIONS}", "--empty=force", "--seed=random",
          "--dry-run=no", "--no-pager", disk.path], log)  # fmt: skip


def target(disk: Disk, layout: Layout) -> Target:
    """When udev has told of all partitions: it does so after they were made."""
    end = time.monotonic() + LONGEST
    while missing := {each.label for each in layout.partitions} - (nodes := _nodes(disk)).keys():
        if time.monotonic() > end:
            raise InstallError(f"{disk.path} has no {', '.join(sorted(missing))} after it was laid out.")
        time.sleep(0.2)
    return Target(disk, nodes)


def _nodes(disk: Disk) -> dict[str, Path]:
    command = ["lsblk", "--json", "--output", "NAME,PATH,PARTLABEL", disk.path]
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    children = said["blockdevices"][0].get("children", [])
    return {child["partlabel"]: Path(child["path"]) for child in children if child["partlabel"]}


def write(target: Target, images: Sequence[Image], progress: Progress) -> None:
    done, total = 0, sum(image.size for image in images)
    for image in images:
        node = target.nodes[image.label]
        with image.source.open("rb") as source, _opened(node, os.O_WRONLY) as descriptor:
            while part := source.read(CHUNK):
                with _words("written", node, done):
                    _write_all(descriptor, part)
                    done += len(part)
                    if done % (16 * CHUNK) < CHUNK:  # as far as the bar says, it is on the disk
                        os.fsync(descriptor)
                progress(done, total)
            with _words("written", node, done):
                os.fsync(descriptor)


def verify(target: Target, images: Sequence[Image], progress: Progress) -> None:
    done, total = 0, sum(image.size for image in images)
    for image in images:
        node = target.nodes[image.label]
        with image.source.open("rb") as source, _opened(node, os.O_RDONLY) as descriptor:
            at = 0
            while part := source.read(CHUNK):
                with _words("read back", node, at):
                    found = medium.read_at(descriptor, len(part), at)
                if found != part:
                    raise _differs(node)
                at += len(part)
                done += len(part)
                progress(done, total)


def write_boot_sector(disk: Disk) -> None:
    """Last: until here a BIOS does not start the disk. The partition table lies behind it."""
    node, wanted = Path(disk.path), medium.boot_sector()
    with _opened(node, os.O_RDWR) as descriptor, _words("written", node, 0):
        os.pwrite(descriptor, wanted, 0)
        os.fsync(descriptor)
    with _opened(node, os.O_RDONLY) as descriptor:
        if medium.read_at(descriptor, len(wanted), 0) != wanted:
            raise _differs(node)


def leave_log(target: Target, text: str, log: Log) -> None:
    """With the data; what RAUC noted there of the slots is no longer so."""
    with _mounted(target.nodes[DATA], log) as folder:
        path = folder / LOG
        path.parent.mkdir(mode=0o755, exist_ok=True)
        with path.open("a") as file:
            file.write(text)
        (folder / RAUC_NOTES).unlink(missing_ok=True)


@contextmanager
def _mounted(node: Path, log: Log) -> Iterator[Path]:
    folder = Path("/run/collector-data")
    folder.mkdir(exist_ok=True)
    # What cannot be mended without a person is left as it is: the mount decides.
    subprocess.run(["e2fsck", "-p", node], check=False, capture_output=True)
    _run(["mount", "-t", "ext4", "-o", "nosuid,nodev,noexec", str(node), str(folder)], log)
    try:
        yield folder
    finally:
        _run(["umount", str(folder)], log)


@contextmanager
def _opened(node: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(node, flags)
    try:
        # From the disk itself, not from memory.
        fcntl.ioctl(descriptor, _BLKFLSBUF, 0)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _words(done: str, node: Path, at: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InstallError(
            f"{node} cannot be {done} near byte {at}: {error.strerror}.\n"
            "The disk, its cable or its adapter is defective: try another disk."
        ) from None


def _differs(node: Path) -> InstallError:
    return InstallError(
        f"{node}: what is read back is not what was written.\n"
        "The disk, its cable, its adapter or this machine's memory is defective."
    )


def _write_all(descriptor: int, part: bytes) -> None:
    view = memoryview(part)
    while view:
        view = view[os.write(descriptor, view) :]


def _run(command: Sequence[str], log: Log) -> None:
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log(f"$ {' '.join(command)}\n{done.stdout}")
    if done.returncode != 0:
        last = done.stdout.strip().splitlines()[-1:] or ["it did not say why"]
        raise InstallError(f"{command[0]} has failed: {last[0]}")
