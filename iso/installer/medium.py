"""What came with the medium: the root image, and the rest of what is written to a disk."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from iso.installer.errors import InstallError
from iso.installer.layout import ROOT, Layout

FOLDER = Path("/run/install")
DEFINITIONS = FOLDER / "repart"
CHUNK = 1 << 20
_BLKGETSIZE64 = 0x80081272

Progress = Callable[[int, int], None]  # done and all, in bytes


@dataclass(frozen=True)
class Image:
    label: str
    number: int
    source: Path
    size: int


def images(layout: Layout) -> list[Image]:
    """What is written, and to which partition."""
    return [
        Image(each.label, each.number, source, _size(source))
        for each in layout.partitions
        if (source := _source(each.label)) is not None
    ]


def boot_sector() -> bytes:
    return (FOLDER / "images/boot.img").read_bytes()


def _source(label: str) -> Path | None:
    if label == ROOT:
        return root_image()
    file = FOLDER / f"images/{label}.img"
    return file if file.exists() else None


def root_image() -> Path:
    """This very system runs from it."""
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        if backing.read_text().startswith("/root.squashfs"):
            return Path("/dev", backing.parts[3])
    raise InstallError("The root image is not there: start from the medium again.")


def _size(source: Path) -> int:
    if source.is_file():
        return source.stat().st_size
    with source.open("rb") as file:
        return int(struct.unpack("Q", fcntl.ioctl(file, _BLKGETSIZE64, bytes(8)))[0])


def require_whole(progress: Progress) -> None:
    """That it is what the build made: a stick or a download may be damaged, and memory too."""
    root = root_image()
    size, digest, done = _size(root), hashlib.blake2b(), 0
    with root.open("rb") as file:
        while part := file.read(CHUNK):
            digest.update(part)
            done += len(part)
            progress(done, size)
    if digest.hexdigest() != (FOLDER / "root.b2sum").read_text().strip():
        raise InstallError(
            "What was read from the medium is damaged. Nothing was changed.\n"
            "Compare the file's check sum with SHA256SUMS, and write the medium anew."
        )


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """All of it, or what there is until the end."""
    found = b""
    while len(found) < count and (part := os.pread(descriptor, count - len(found), offset + len(found))):
        found += part
    return found
