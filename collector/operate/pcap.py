"""Writes frames to a pcap file with nanosecond times."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from collector.errors import HostError, InputError
from collector.operate.inner import Buffer

NANOSECOND_MAGIC = 0xA1B23C4D
SNAPLEN = 262144
LINKTYPE_ETHERNET = 1
NANOSECONDS = 1_000_000_000

_record = struct.Struct("=IIII").pack


class PcapWriter:
    """Replaces `path`. Raises InputError if it cannot be opened, HostError if it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames = 0
        self._file = self._open()
        self._file.write(struct.pack("=IHHiIII", NANOSECOND_MAGIC, 2, 4, 0, 0, SNAPLEN, LINKTYPE_ETHERNET))

    def __enter__(self) -> Self:
        try:
            self.flush()
        except HostError:
            # This fails again, as the same bytes still wait, but it does close the file.
            with suppress(OSError):
                self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError as failure:
            if error is None:
                raise self._failed(failure) from failure

    def write(self, frame: Buffer, arrived_ns: int) -> None:
        seconds, nanoseconds = divmod(arrived_ns, NANOSECONDS)
        size = len(frame)
        try:
            self._file.write(_record(seconds & 0xFFFFFFFF, nanoseconds, size, size))
            self._file.write(frame)
        except OSError as failure:
            raise self._failed(failure) from failure
        self.frames += 1

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError as failure:
            raise self._failed(failure) from failure

    def _open(self) -> BinaryIO:
        try:
            return self.path.open("wb", buffering=1 << 18)
        except OSError as failure:
            raise InputError(
                f"--pcap: cannot open {self.path}: {failure.strerror}",
                "Name a file in a folder that exists and that you may write to.",
            ) from failure

    def _failed(self, failure: OSError) -> HostError:
        return HostError(
            f"Writing {self.path} failed after {self.frames:,} frames: {failure.strerror}",
            "Check the free space of that disk (df -h), or name another file with --pcap.",
        )
