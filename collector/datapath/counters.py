"""The counters, read from the pinned maps: no process of ours counts anything."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from collector.datapath import libbpf, maps
from collector.datapath.settings import DropReason

_DROP_SLOTS = 32
_SOURCE = struct.Struct(f"<6Q{_DROP_SLOTS}Q")
_TMETER = struct.Struct("<3Q")
_KEY = struct.Struct("<I")
_U64 = (1 << 64) - 1  # a CPU may take back what another counted: only the sum is meant


@dataclass(frozen=True)
class SourceCounters:
    """`frames`: mirrored frames that came in; each was sent, or is in `drops` under its reason.

    `passed_frames` came in at the same NIC but were the host's own, and are in no other counter.
    `bytes`: of the frames as received, mirror's wrapping excluded. `last_frame`, `last_sip` and
    `last_rtp`: seconds of CLOCK_MONOTONIC; None before the first.
    """

    frames: int
    bytes: int
    passed_frames: int
    last_frame: float | None
    last_sip: float | None
    last_rtp: float | None
    drops: Mapping[str, int]


@dataclass(frozen=True)
class TMeterCounters:
    frames: int
    bytes: int
    oversize_frames: int  # larger than the path: sent in fragments or cut, or dropped for it


def read_source(folder: Path, slot: int) -> SourceCounters:
    return read_sources(folder, (slot,))[slot]


def read_sources(folder: Path, slots: Iterable[int]) -> dict[int, SourceCounters]:
    """By slot."""
    fd = _pinned(folder / "source_counters")
    info = maps.info_of(fd)
    return {slot: _decode(maps.lookup(fd, _KEY.pack(slot), info)) for slot in slots}


def _decode(raw: list[bytes]) -> SourceCounters:
    copies = [_SOURCE.unpack(each) for each in raw]
    frames, octets, passed, _, _, _, *drops = _sums(copies)
    frame, sip, rtp = (_seconds(max(copy[i] for copy in copies)) for i in (3, 4, 5))
    by_reason = {reason.name.lower(): drops[reason] for reason in DropReason}
    return SourceCounters(frames, octets, passed, frame, sip, rtp, by_reason)


def _seconds(nanoseconds: int) -> float | None:
    return nanoseconds / 1e9 if nanoseconds else None


def read_tmeter(folder: Path) -> TMeterCounters:
    copies = [_TMETER.unpack(raw) for raw in maps.lookup(_pinned(folder / "tmeter_counters"), _KEY.pack(0))]
    return TMeterCounters(*_sums(copies))


def reset_source(folder: Path, slot: int) -> None:
    fd = libbpf.pinned(folder / "source_counters")
    if fd:
        maps.clear_per_cpu(fd, _KEY.pack(slot))


def _sums(copies: list[tuple[int, ...]]) -> list[int]:
    return [sum(column) & _U64 for column in zip(*copies, strict=True)]


def _pinned(path: Path) -> libbpf.Fd:
    fd = libbpf.pinned(path)
    if fd is None:
        raise FileNotFoundError(path)
    return fd
