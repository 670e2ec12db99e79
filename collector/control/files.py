"""Files that are replaced as a whole, so that nobody ever reads half of one."""

from __future__ import annotations

import os
from pathlib import Path

from collector.errors import HostError


def replace_file(file: Path, text: str, *, mode: int = 0o644, backup: bool = False) -> None:
    """What is there is kept as FILE.bak if asked for; a file keeps its mode and owner."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if backup and file.exists() and file.read_text() != text:
            _write(file.with_name(f"{file.name}.bak"), file.read_bytes(), mode, like=file)
        _write(file, text.encode(), mode, like=file)
    except OSError as error:
        raise HostError(
            f"{file} cannot be written: {error.strerror}", "Is the disk full, or read-only?"
        ) from None


def _write(file: Path, content: bytes, mode: int, like: Path) -> None:
    fresh = file.with_name(f".{file.name}.new")
    with fresh.open("wb") as written:
        _look_like(written.fileno(), like, mode)
        written.write(content)
        written.flush()
        os.fsync(written.fileno())
    fresh.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _look_like(handle: int, like: Path, mode: int) -> None:
    known = like.stat() if like.exists() else None
    own = os.fstat(handle)
    # The service may give nothing away: not even the call is allowed there.
    if known and (known.st_uid, known.st_gid) != (own.st_uid, own.st_gid):
        os.fchown(handle, known.st_uid, known.st_gid)
    os.fchmod(handle, known.st_mode & 0o7777 if known else mode)
