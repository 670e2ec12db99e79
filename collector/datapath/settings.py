"""The program's configuration, as the kernel holds it: struct config and two maps (bpf/shared.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from collector.datapath.ports import Ports, decode_ports
from collector.datapath.splitter import Splitter

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Entries = list[tuple[bytes, bytes]]

# What follows mirrors bpf/shared.h; the kernel's map sizes and a test hold the two together.
MAX_NICS = 16
MAX_SOURCES = 64
NONE = 0xFFFFFFFF
_HEADER = struct.Struct("<5I")
MAX_OWN_ADDRESSES = 8
_NIC = struct.Struct(f"<6I8s{16 * MAX_OWN_ADDRESSES}s")
_TMETER = struct.Struct("<32s16s16s2sH4I")
_SOURCE = struct.Struct("<32s5I")
_SENDER_KEY = struct.Struct("<IIBB2s16s")
_SENDER_BITS = 8 * (_SENDER_KEY.size - 4)
_VNI_KEY = struct.Struct("<II")
_U32 = struct.Struct("<I")
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96
CONFIG_SIZE = _HEADER.size + MAX_NICS * _NIC.size + _TMETER.size + MAX_SOURCES * _SOURCE.size


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
    UNSUPPORTED = 10


class SourceType(IntEnum):
    SPAN = 1
    VXLAN = 2
    GENEVE = 3
    GRE = 4
    ERSPAN = 5
    TZSP = 6
    IPIP = 7


# The IP protocol and number by which a type's packets are told apart: GRE's by the payload's type.
_UDP = 17
_CARRIERS = {
    SourceType.GRE: ((47, 0),),
    SourceType.ERSPAN: ((47, 0x88BE),),
    SourceType.IPIP: ((4, 0), (41, 0)),
}


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
    senders: tuple[Network, ...] = ()
    rspan_vlan: int = 0
    shared_mac: str = ""  # of a span's NIC that is the host's too
    strict: tuple[int, ...] = ()  # IP versions of which `own` alone tells the host's addresses
    own: tuple[Address, ...] = ()


@dataclass(frozen=True)
class TMeter:
    name: str
    source: Address
    address: Address
    port: int
    path_mtu: int
    oversize: Oversize
    ifindex: int
    udp_checksum: bool = False  # over IPv6; over IPv4 there is none


@dataclass(frozen=True)
class Settings:
    """struct config, with the maps that go with it."""

    netns: int
    tmeter: TMeter
    sources: tuple[Source, ...]  # by slot
    telephony: tuple[Ports, ...] = ()  # in order, none touching another of its kind, none overlapping
    splitter: Splitter = field(default=Splitter(0, 0))

    @property
    def nics(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(source.ifindex for source in self.sources))

    def encode(self, cpus: int) -> bytes:
        header = _HEADER.pack(self.netns, cpus, self.splitter.tx, self.splitter.rx, len(self.nics))
        by_slot = {source.slot: _encode_source(source) for source in self.sources}
        slots = b"".join(by_slot.get(slot, bytes(_SOURCE.size)) for slot in range(MAX_SOURCES))
        nic_table = b"".join(self._encode_nic(ifindex) for ifindex in self.nics)
        return header + nic_table.ljust(MAX_NICS * _NIC.size, b"\0") + _encode_tmeter(self.tmeter) + slots

    def _encode_nic(self, ifindex: int) -> bytes:
        here = [source for source in self.sources if source.ifindex == ifindex]
        span = next((source for source in here if source.type == SourceType.SPAN), None)
        mac = bytes.fromhex(span.shared_mac.replace(":", "")) if span else b""
        strict, own = (span.strict, span.own) if span else ((), ())
        return _NIC.pack(
            ifindex,
            span.slot if span else NONE,
            here[0].slot,
            bool(mac),
            sum(1 << version for version in strict),
            len(own),
            mac,
            b"".join(map(_packed, own)),
        )

    def sender_entries(self) -> dict[bytes, bytes]:
        return {
            key: _U32.pack(source.slot)
            for source in self.sources
            for network in source.senders
            for key in _sender_keys(source, network)
        }

    def vni_entries(self) -> dict[bytes, bytes]:
        return {
            _VNI_KEY.pack(source.slot, vni): _U32.pack(mapped)
            for source in self.sources
            for vni, mapped in source.vni_map
        }


def _packed(address: Address) -> bytes:
    return address.packed if address.version == 6 else _MAPPED + address.packed


def _unpacked(raw: bytes) -> Address:
    return ip_address(raw[12:]) if raw.startswith(_MAPPED) else ip_address(raw)


def _encode_tmeter(tmeter: TMeter) -> bytes:
    return _TMETER.pack(
        tmeter.name.encode(),
        _packed(tmeter.source),
        _packed(tmeter.address),
        tmeter.port.to_bytes(2, "big"),
        tmeter.path_mtu,
        tmeter.oversize,
        tmeter.ifindex,
        tmeter.address.version == 6,
        tmeter.udp_checksum,
    )


def _encode_source(source: Source) -> bytes:
    vni = NONE if source.vni is None else source.vni
    return _SOURCE.pack(
        source.name.encode(), source.type, source.vni_rule, vni, source.strip_vlan, source.rspan_vlan
    )


def _sender_keys(source: Source, network: Network) -> Iterator[bytes]:
    bits = _SENDER_BITS - network.max_prefixlen + network.prefixlen
    for protocol, port in _CARRIERS.get(source.type, ((_UDP, source.port),)):
        yield _SENDER_KEY.pack(
            bits,
            source.ifindex,
            protocol,
            network.version,
            port.to_bytes(2, "big"),
            _packed(network.network_address),
        )


def decode(raw: bytes, ports: bytes, senders: Entries, vni_rules: Entries) -> Settings:
    netns, _cpus, tx, rx, nr_nics = _HEADER.unpack_from(raw)
    nics = [_NIC.unpack_from(raw, _HEADER.size + i * _NIC.size) for i in range(nr_nics)]
    at = _HEADER.size + MAX_NICS * _NIC.size
    tmeter = _decode_tmeter(raw[at:])
    at += _TMETER.size
    spans = {nic[1]: nic for nic in nics}
    sources = tuple(
        _decode_source(slot, raw[at + slot * _SOURCE.size :], spans.get(slot), senders, vni_rules)
        for slot in range(MAX_SOURCES)
        if raw[at + slot * _SOURCE.size]
    )
    return Settings(netns, tmeter, sources, decode_ports(ports), Splitter(tx, rx))


def _decode_tmeter(raw: bytes) -> TMeter:
    name, source, address, port, mtu, oversize, ifindex, _ipv6, checksum = _TMETER.unpack_from(raw)
    ends = _unpacked(source), _unpacked(address)
    number = int.from_bytes(port, "big")
    return TMeter(_text(name), *ends, number, mtu, Oversize(oversize), ifindex, bool(checksum))


def _decode_source(
    slot: int, raw: bytes, span: tuple[Any, ...] | None, senders: Entries, vni_rules: Entries
) -> Source:
    name, kind, rule, vni, strip, rspan = _SOURCE.unpack_from(raw)
    keys = [_SENDER_KEY.unpack(key) for key, value in senders if _U32.unpack(value)[0] == slot]
    rules = [(*_VNI_KEY.unpack(key), _U32.unpack(value)[0]) for key, value in vni_rules]
    networks = {_network(key[0], key[-1]) for key in keys}
    ports = [
        int.from_bytes(port, "big") for _bits, _ifindex, protocol, _ip, port, _ in keys if protocol == _UDP
    ]
    return Source(
        slot=slot,
        name=_text(name),
        type=SourceType(kind),
        ifindex=keys[0][1] if keys else span[0] if span else 0,
        vni_rule=VniRule(rule),
        vni=None if vni == NONE else vni,
        vni_map=tuple(sorted((old, new) for owner, old, new in rules if owner == slot)),
        strip_vlan=bool(strip),
        port=ports[0] if ports else 0,
        senders=in_order(networks),
        rspan_vlan=rspan,
        **(_decode_sharing(*span[3:]) if span else {}),
    )


def _decode_sharing(shared: int, strict: int, count: int, mac: bytes, own: bytes) -> dict[str, Any]:
    return {
        "shared_mac": mac[:6].hex(":") if shared else "",
        "strict": tuple(version for version in (4, 6) if strict & 1 << version),
        "own": tuple(_unpacked(own[16 * i : 16 * i + 16]) for i in range(count)),
    }


def in_order(networks: set[Network]) -> tuple[Network, ...]:
    return tuple(sorted(networks, key=lambda network: (network.version, int(network[0]), network.prefixlen)))


def _network(bits: int, address: bytes) -> Network:
    first = _unpacked(address)
    prefix = bits - _SENDER_BITS + first.max_prefixlen
    return IPv4Network((first, prefix)) if isinstance(first, IPv4Address) else IPv6Network((first, prefix))


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode()
