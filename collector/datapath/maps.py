"""BPF maps: their values as bytes, one for each possible CPU where the kernel keeps several."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from collector.datapath.libbpf import BpfError, Fd, buffer, call, possible_cpus, read_info, text

_ARRAY = 2
_PER_CPU_TYPES = {5, 6, 10}  # percpu hash, percpu array, lru percpu hash
_ANY = 0


@dataclass(frozen=True)
class MapInfo:
    id: int
    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int


def by_id(map_id: int) -> Fd:
    return Fd(call(f"opening map {map_id}", "bpf_map_get_fd_by_id", map_id))


def create_array(name: str, value_size: int, entries: int = 1) -> Fd:
    arguments = (_ARRAY, name.encode(), 4, value_size, entries, None)
    return Fd(call(f"creating map {name}", "bpf_map_create", *arguments))


def info_of(fd: Fd) -> MapInfo:
    told = read_info(fd, buffer(40))  # struct bpf_map_info as far as name
    kind, number, key, value, entries, _flags, name = struct.unpack("6I16s", told)
    return MapInfo(number, text(name), kind, key, value, entries)


def lookup(fd: Fd, key: bytes, info: MapInfo | None = None) -> list[bytes]:
    """The value, one for each possible CPU where the map keeps several. KeyError: not there."""
    info = info or info_of(fd)
    copies = possible_cpus() if info.type in _PER_CPU_TYPES else 1
    stride = (info.value_size + 7) // 8 * 8
    raw = buffer(stride * copies)
    try:
        call(f"reading map {info.name}", "bpf_map_lookup_elem", fd.number, key, raw)
    except BpfError as error:
        if error.errno == errno.ENOENT:
            raise KeyError(key) from None
        raise
    return [raw.raw[i * stride : i * stride + info.value_size] for i in range(copies)]


def update(fd: Fd, key: bytes, value: bytes) -> None:
    call("writing a map", "bpf_map_update_elem", fd.number, key, value, _ANY)


def clear_per_cpu(fd: Fd, key: bytes) -> None:
    info = info_of(fd)
    stride = (info.value_size + 7) // 8 * 8
    update(fd, key, bytes(stride * possible_cpus()))


def keys(fd: Fd) -> Iterator[bytes]:
    key = None
    following = buffer(info_of(fd).key_size)
    while True:
        try:
            call("listing a map", "bpf_map_get_next_key", fd.number, key, following)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        key = following.raw
        yield key
