"""The eBPF program: its configuration as the kernel holds it, its object, its places in the kernel.

One object serves all sources of an instance. Everything that it needs is pinned in one folder of
bpffs, and that folder is the only record of what runs.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from collector.datapath import libbpf, maps
from collector.datapath.libbpf import Fd
from collector.datapath.splitter import Splitter

OBJECT = Path(__file__).parent / "bpf" / "collector.bpf.o"
BPFFS = Path("/sys/fs/bpf")
BTF = Path("/sys/kernel/btf/vmlinux")

# What follows mirrors bpf/shared.h; the kernel's map sizes and a test hold the two together.
MAX_NICS = 16
MAX_SOURCES = 64
NONE = 0xFFFFFFFF
_HEADER = struct.Struct("<5I")
_NIC = struct.Struct("<3I")
_TMETER = struct.Struct("<32s4s4s2sHII")
_SOURCE = struct.Struct("<32s4I")
_SENDER_KEY = struct.Struct("<IIH2s16s")
_SENDER_BITS = 8 * (_SENDER_KEY.size - 4)
_VNI_KEY = struct.Struct("<II")
_U32 = struct.Struct("<I")
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96
CONFIG_SIZE = _HEADER.size + MAX_NICS * _NIC.size + _TMETER.size + MAX_SOURCES * _SOURCE.size

LOSS_PROGRAMS = ("collector_xmit", "collector_refused", "collector_freed")
KEPT_MAPS = ("source_counters", "tmeter_counters", "flow_ways")


class DropReason(IntEnum):
    """enum drop_reason; a test compares the two."""

    MALFORMED = 1
    LOOP = 2
    UNKNOWN_VNI = 3
    OVERSIZE = 4
    OUTER_FRAGMENT = 5
    NO_ROUTE = 6
    NEIGHBOUR = 7
    EGRESS = 8
    NO_MEMORY = 9


class SourceType(IntEnum):
    SPAN = 1
    VXLAN = 2


class VniRule(IntEnum):
    FIXED = 0
    KEEP = 1
    MAP = 2


class Oversize(IntEnum):
    FRAGMENT = 0
    SLICE = 1
    DROP = 2


@dataclass(frozen=True)
class Source:
    slot: int
    name: str
    type: SourceType
    ifindex: int
    vni_rule: VniRule = VniRule.FIXED
    vni: int | None = None  # FIXED: the VNI; MAP: the default, None drops what is not in the map
    vni_map: tuple[tuple[int, int], ...] = ()
    strip_vlan: bool = False
    port: int = 0
    senders: tuple[IPv4Network, ...] = ()


@dataclass(frozen=True)
class TMeter:
    name: str
    source: IPv4Address
    address: IPv4Address
    port: int
    path_mtu: int
    oversize: Oversize
    ifindex: int


@dataclass(frozen=True)
class Settings:
    """struct config, with the maps that go with it."""

    netns: int
    tmeter: TMeter
    sources: tuple[Source, ...]  # by slot
    splitter: Splitter = field(default=Splitter(0, 0))

    @property
    def nics(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(source.ifindex for source in self.sources))

    def encode(self) -> bytes:
        nics = self.nics
        header = _HEADER.pack(
            self.netns, libbpf.possible_cpus(), self.splitter.tx, self.splitter.rx, len(nics)
        )
        tmeter = _TMETER.pack(
            self.tmeter.name.encode(),
            self.tmeter.source.packed,
            self.tmeter.address.packed,
            self.tmeter.port.to_bytes(2, "big"),
            self.tmeter.path_mtu,
            self.tmeter.oversize,
            self.tmeter.ifindex,
        )
        by_slot = {source.slot: _encode_source(source) for source in self.sources}
        slots = b"".join(by_slot.get(slot, bytes(_SOURCE.size)) for slot in range(MAX_SOURCES))
        nic_table = b"".join(self._encode_nic(ifindex) for ifindex in nics)
        return header + nic_table.ljust(MAX_NICS * _NIC.size, b"\0") + tmeter + slots

    def _encode_nic(self, ifindex: int) -> bytes:
        here = [source for source in self.sources if source.ifindex == ifindex]
        span = next((source.slot for source in here if source.type == SourceType.SPAN), NONE)
        return _NIC.pack(ifindex, span, here[0].slot)

    def sender_entries(self) -> dict[bytes, bytes]:
        return {
            _encode_sender(source, network): _U32.pack(source.slot)
            for source in self.sources
            if source.type != SourceType.SPAN
            for network in source.senders
        }

    def vni_entries(self) -> dict[bytes, bytes]:
        return {
            _VNI_KEY.pack(source.slot, vni): _U32.pack(mapped)
            for source in self.sources
            for vni, mapped in source.vni_map
        }


def _encode_source(source: Source) -> bytes:
    vni = NONE if source.vni is None else source.vni
    return _SOURCE.pack(source.name.encode(), source.type, source.vni_rule, vni, source.strip_vlan)


def _encode_sender(source: Source, network: IPv4Network) -> bytes:
    bits = _SENDER_BITS - 32 + network.prefixlen
    port, address = source.port.to_bytes(2, "big"), _MAPPED + network.network_address.packed
    return _SENDER_KEY.pack(bits, source.ifindex, source.type, port, address)


def decode(raw: bytes, senders: list[tuple[bytes, bytes]], vni_rules: list[tuple[bytes, bytes]]) -> Settings:
    netns, _cpus, tx, rx, nr_nics = _HEADER.unpack_from(raw)
    nics = [_NIC.unpack_from(raw, _HEADER.size + i * _NIC.size) for i in range(nr_nics)]
    at = _HEADER.size + MAX_NICS * _NIC.size
    name, source, address, port, mtu, oversize, ifindex = _TMETER.unpack_from(raw, at)
    tmeter = TMeter(
        _text(name), IPv4Address(source), IPv4Address(address), int.from_bytes(port, "big"), mtu,
        Oversize(oversize), ifindex,
    )  # fmt: skip
    at += _TMETER.size
    spans = {span: ifindex for ifindex, span, _first in nics if span != NONE}
    sources = tuple(
        _decode_source(slot, raw[at + slot * _SOURCE.size :], spans.get(slot, 0), senders, vni_rules)
        for slot in range(MAX_SOURCES)
        if raw[at + slot * _SOURCE.size]
    )
    return Settings(netns, tmeter, sources, Splitter(tx, rx))


def _decode_source(
    slot: int,
    raw: bytes,
    ifindex: int,
    senders: list[tuple[bytes, bytes]],
    vni_rules: list[tuple[bytes, bytes]],
) -> Source:
    name, kind, rule, vni, strip = _SOURCE.unpack_from(raw)
    keys = [_SENDER_KEY.unpack(key) for key, value in senders if _U32.unpack(value)[0] == slot]
    rules = [(*_VNI_KEY.unpack(key), _U32.unpack(value)[0]) for key, value in vni_rules]
    return Source(
        slot=slot,
        name=_text(name),
        type=SourceType(kind),
        ifindex=keys[0][1] if keys else ifindex,
        vni_rule=VniRule(rule),
        vni=None if vni == NONE else vni,
        vni_map=tuple(sorted((old, new) for owner, old, new in rules if owner == slot)),
        strip_vlan=bool(strip),
        port=int.from_bytes(keys[0][3], "big") if keys else 0,
        senders=tuple(sorted(_network(bits, address) for bits, _if, _type, _port, address in keys)),
    )


def _network(bits: int, address: bytes) -> IPv4Network:
    return IPv4Network((address[12:], bits - _SENDER_BITS + 32))


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode()


def build() -> str:
    """Tells one build of the program from another."""
    return hashlib.sha256(OBJECT.read_bytes()).hexdigest()[:12]


def load(settings: Settings, folder: Path) -> libbpf.Object:
    """Puts the program into the kernel, attached to nothing; counters pinned in `folder` go on."""
    program = libbpf.Object(OBJECT)
    program.set_constants(".rodata.cfg", settings.encode())
    program.set_max_entries("scratch", libbpf.possible_cpus())
    for name in KEPT_MAPS:
        kept = libbpf.pinned(folder / name)
        if kept:
            program.reuse_map(name, kept)
    if not BTF.exists():
        for name in LOSS_PROGRAMS:
            program.leave_out(name)
    program.load()
    for name, entries in (("senders", settings.sender_entries()), ("vni_rules", settings.vni_entries())):
        fd = program.map(name)
        for key, value in entries.items():
            maps.update(fd, key, value)
    return program


def read_settings(program: Fd) -> Settings:
    """The configuration that an attached program was loaded with, out of its own maps."""
    found: dict[str, Fd] = {}
    for map_id in libbpf.program_info(program).map_ids:
        fd = maps.by_id(map_id)
        found[maps.info_of(fd).name] = fd
    raw = maps.lookup(found[".rodata.cfg"], _U32.pack(0))[0]
    tables = [
        [(key, maps.lookup(found[name], key)[0]) for key in maps.keys(found[name])]
        for name in ("senders", "vni_rules")
    ]
    return decode(raw, *tables)
