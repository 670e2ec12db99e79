"""Mirrored frames in each kind of tunnel, as the mirrors send them, built by Scapy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from scapy.contrib.erspan import ERSPAN_II, ERSPAN_III, ERSPAN_PlatformSpecific
from scapy.contrib.geneve import GENEVE
from scapy.contrib.tzsp import TZSP
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from collector.datapath.settings import SourceType
from tests.lib.datapath import COLLECTOR, COLLECTOR6, TUNNEL_PORTS
from tests.lib.samples import MIRROR, TELEPHONES6, ether, mirrored, sip

NESTING_LIMIT = bytes.fromhex("00 04 01 04 01 01 00")  # RFC 2473 section 4.1.1, behind the next header
MIRROR6 = "2001:db8:7::7"
VNI, SESSION, NO_VNI = 0x123456, 1023, 12  # sources whose tunnel has none send 12
TEB, ERSPAN_TYPE_II, ERSPAN_TYPE_III = 0x6558, 0x88BE, 0x22EB
MADE_MACS: dict[str, str] = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}

SIP6 = bytes(
    ether() / IPv6(**TELEPHONES6) / UDP(sport=5060, dport=5060) / b"INVITE sip:100@example.com SIP/2.0"
)
BARE4, BARE6 = sip()[14:], SIP6[14:]  # IP packets without Ethernet


def made_up(packet: bytes) -> bytes:
    """The frame that becomes of an IP packet without Ethernet."""
    return bytes(Ether(**MADE_MACS, type=0x0800 if packet[0] >> 4 == 4 else 0x86DD) / packet)


# AWS, class 0x0108: the endpoint, the attachment, the flow.
GATEWAY_OPTIONS = bytes.fromhex("01080102" + "ab" * 8 + "01080202" + "cd" * 8 + "01080301" + "ef" * 4)

Payload = tuple[int, bytes]  # the IP protocol, and what stands behind the IP header


def in_udp(port: int, layers: Any) -> Payload:
    return 17, bytes(UDP(sport=51000, dport=port, len=8 + len(layers), chksum=0) / layers)


def carried(payload: Payload, carrier: str = "IPv4", *, behind: bytes = b"", **ip: Any) -> bytes:
    """The mirror's packet to the collector. `ip`: fields of the carrier's header."""
    protocol, content = payload
    return bytes(CARRIERS[carrier](protocol, ip) / Raw(content)) + behind


def _over_ipv4(protocol: int, ip: dict[str, Any]) -> Any:
    return ether() / IP(**{"src": MIRROR, "dst": COLLECTOR, "proto": protocol} | ip)


def _over_ipv6(protocol: int, ip: dict[str, Any]) -> Any:
    return ether() / IPv6(**{"src": MIRROR6, "dst": COLLECTOR6, "nh": protocol} | ip)


CARRIERS: dict[str, Callable[[int, dict[str, Any]], Any]] = {
    "IPv4": _over_ipv4,
    "IPv4 with options": lambda protocol, ip: _over_ipv4(protocol, {"options": "\x01" * 40} | ip),
    "IPv6": _over_ipv6,
    "IPv6 with a nesting limit": lambda protocol, ip: (
        _over_ipv6(60, ip) / Raw(bytes([protocol]) + NESTING_LIMIT)
    ),
}


# The tunnels


def vxlan(inner: bytes, **fields: Any) -> Payload:
    return in_udp(TUNNEL_PORTS[SourceType.VXLAN], VXLAN(**{"flags": 8, "vni": VNI} | fields) / Raw(inner))


def geneve(inner: bytes, proto: int, options: bytes = b"", **fields: Any) -> Payload:
    header = GENEVE(**{"proto": proto, "vni": VNI, "optionlen": len(options) // 4} | fields)
    return in_udp(TUNNEL_PORTS[SourceType.GENEVE], Raw(bytes(header) + options + inner))


def gateway(inner: bytes, version: int = 4, *, ip_length: int | None = None, **udp: Any) -> bytes:
    """What an AWS gateway load balancer puts into GENEVE: the mirror's VXLAN packet without Ethernet."""
    ip: Any = IP(src="10.0.0.5", dst="10.0.0.9", len=ip_length)
    if version == 6:
        ip = IPv6(src="2001:db8::5", dst="2001:db8::9", plen=ip_length)
    datagram = UDP(**{"sport": 65000, "dport": 4789, "chksum": 0} | udp)
    return bytes(ip / datagram / VXLAN(flags=8, vni=VNI) / inner)


def from_gateway(packet: bytes, options: bytes = GATEWAY_OPTIONS) -> Payload:
    """Its own VNI says nothing."""
    return geneve(packet, 0x0800 if packet[0] >> 4 == 4 else 0x86DD, options, vni=0)


def gre(inner: bytes, proto: int, **fields: Any) -> Payload:
    return 47, bytes(GRE(proto=proto, **fields)) + inner


def erspan1(inner: bytes, **fields: Any) -> Payload:
    return gre(inner, ERSPAN_TYPE_II, **fields)


def erspan2(inner: bytes, **fields: Any) -> Payload:
    header = ERSPAN_II(**{"vlan": 100, "cos": 5, "session_id": SESSION, "index": 7} | fields)
    return gre(bytes(header) + inner, ERSPAN_TYPE_II, seqnum_present=1, sequence_number=9)


def erspan3(inner: bytes, platform: bytes = b"", **fields: Any) -> Payload:
    own = {"vlan": 100, "session_id": SESSION, "timestamp": 2**32 - 1, "sgt_other": 99, "p": 1, "hw": 63}
    header = ERSPAN_III(**own | {"o": bool(platform)} | fields)
    return gre(bytes(header) + platform + inner, ERSPAN_TYPE_III, seqnum_present=1, sequence_number=9)


PLATFORM = bytes(ERSPAN_PlatformSpecific(platf_id=3))[:8].ljust(8, b"\xab")
TAG_END, TAG_PADDING = b"\x01", b"\x00"
TAGS = {
    "RSSI": b"\x0a\x01\x7f",
    "time": b"\x0d\x04\x01\x00\x01\x00",
    "sensor": b"\x3c\x06\x01\x01\x01\x01\x01\x01",
}


def tzsp(inner: bytes, tags: bytes = TAG_END, **fields: Any) -> Payload:
    header = bytes(TZSP(**{"version": 1, "type": 0, "encapsulated_protocol": 1} | fields))[:4]
    return in_udp(TUNNEL_PORTS[SourceType.TZSP], Raw(header + tags + inner))


def ipip(inner: bytes) -> Payload:
    return (4 if inner[0] >> 4 == 4 else 41), inner


@dataclass(frozen=True)
class Wrapped:
    """A frame in a tunnel, and what has to leave of it."""

    kind: SourceType
    payload: Payload
    frame: bytes
    vni: int
    made: bool = False  # the frame's Ethernet header, which did not come

    @property
    def received(self) -> int:
        return len(self.frame) - (14 if self.made else 0)


INSIDE: dict[str, tuple[int, bytes, bytes, bool]] = {
    "Ethernet": (TEB, sip(), sip(), False),
    "IPv4": (0x0800, BARE4, made_up(BARE4), True),
    "IPv6": (0x86DD, BARE6, made_up(BARE6), True),
}
OPTIONS = {"no options": b"", "8 bytes of options": b"\x01\x08\x01\x01\xaa\xbb\xcc\xdd"}
OPTIONS["252 bytes of options"] = bytes(i % 251 for i in range(252))


def _geneves() -> Iterator[tuple[str, Wrapped]]:
    for (inside, (proto, inner, frame, made)), (some, options) in product(INSIDE.items(), OPTIONS.items()):
        packet = geneve(inner, proto, options)
        yield f"GENEVE, {inside}, {some}", Wrapped(SourceType.GENEVE, packet, frame, VNI, made)
    for name, version in (("GENEVE, gateway", 4), ("GENEVE, gateway, IPv6", 6)):
        yield name, Wrapped(SourceType.GENEVE, from_gateway(gateway(sip(), version)), sip(), VNI)


def _gres() -> Iterator[tuple[str, Wrapped]]:
    fields = ("key_present", "seqnum_present", "chksum_present")
    values = {"key": 0xDEADBEEF, "sequence_number": 0x88BE6558, "chksum": 0xFFFF}
    for (inside, (proto, inner, frame, made)), chosen in product(INSIDE.items(), product((0, 1), repeat=3)):
        flags = dict(zip(fields, chosen, strict=True))
        name = ", ".join([f"GRE, {inside}", *(field.split("_")[0] for field in fields if flags[field])])
        yield name, Wrapped(SourceType.GRE, gre(inner, proto, **flags, **values), frame, NO_VNI, made)


def _erspans() -> Iterator[tuple[str, Wrapped]]:
    plain: dict[str, tuple[Payload, int]] = {
        "I": (erspan1(sip()), 0),
        "I, key": (erspan1(sip(), key_present=1, key=7), 0),
        "I, checksum": (erspan1(sip(), chksum_present=1), 0),
        "II": (erspan2(sip()), SESSION),
        "II, session 0": (erspan2(sip(), session_id=0), 0),
        "III": (erspan3(sip()), SESSION),
        "III, platform": (erspan3(sip(), PLATFORM), SESSION),
        "III, every bit": (erspan3(sip(), PLATFORM, cos=7, bso=3, t=1, d=1, gra=3), SESSION),
    }
    for name, (packet, vni) in plain.items():
        yield f"ERSPAN {name}", Wrapped(SourceType.ERSPAN, packet, sip(), vni)
    for (inside, inner), platform in product({"IPv4": BARE4, "IPv6": BARE6}.items(), (b"", PLATFORM)):
        name = f"ERSPAN III, {inside}{', platform' if platform else ''}"
        packet = erspan3(inner, platform, ft=2)
        yield name, Wrapped(SourceType.ERSPAN, packet, made_up(inner), SESSION, made=True)


def _tzsps() -> Iterator[tuple[str, Wrapped]]:
    tags = {
        "bare end tag": TAG_END,
        "several tags": b"".join(TAGS.values()) + TAG_END,
        "padding": TAG_PADDING * 3 + TAGS["time"] + TAG_PADDING + TAG_END,
        "15 tags": TAG_PADDING * 15 + TAG_END,
        "tag without value": b"\x11\x00" + TAG_END,
        "tag of 31 bytes": b"\x40\x1f" + b"\x01" * 31 + TAG_END,
        "12 tags of 31 bytes": (b"\x40\x1f" + bytes(31)) * 12 + TAG_END,
    }
    for name, field in tags.items():
        yield f"TZSP, {name}", Wrapped(SourceType.TZSP, tzsp(sip(), field), sip(), NO_VNI)
    yield "TZSP, to be sent", Wrapped(SourceType.TZSP, tzsp(sip(), type=1), sip(), NO_VNI)


def _others() -> Iterator[tuple[str, Wrapped]]:
    yield "VXLAN", Wrapped(SourceType.VXLAN, vxlan(sip()), sip(), VNI)
    for name, inner in {"IPv4": BARE4, "IPv6": BARE6}.items():
        yield f"IPIP, {name}", Wrapped(SourceType.IPIP, ipip(inner), made_up(inner), NO_VNI, made=True)


WRAPPED: dict[str, Wrapped] = dict(
    [*_others(), *_geneves(), *_gres(), *_erspans(), *_tzsps()],
)

# Of each kind one that has every optional part: tried cut short at every byte, and damaged.
RICHEST: dict[str, Wrapped] = {
    name: WRAPPED[name]
    for name in (
        "VXLAN",
        "GENEVE, Ethernet, 8 bytes of options",
        "GENEVE, IPv6, no options",
        "GENEVE, gateway",
        "GRE, Ethernet, key, seqnum, chksum",
        "GRE, IPv4",
        "ERSPAN I",
        "ERSPAN II",
        "ERSPAN III, every bit",
        "ERSPAN III, IPv4, platform",
        "TZSP, several tags",
        "TZSP, padding",
        "IPIP, IPv4",
        "IPIP, IPv6",
    )
}

# Frames that are overlays themselves: a mirror of one is sent as it is.
OVERLAYS: dict[str, bytes] = {
    "VXLAN": mirrored(sip(), ip_dst="198.51.100.9"),
    "VXLAN to the collector": mirrored(sip()),
    "VXLAN over IPv6": carried(vxlan(sip()), "IPv6"),
    "VXLAN in VXLAN": mirrored(mirrored(sip()), ip_dst="198.51.100.9"),
    "GENEVE": carried(geneve(sip(), TEB, OPTIONS["8 bytes of options"])),
    "GENEVE, gateway": carried(from_gateway(gateway(sip()))),
    "GRE": carried(gre(sip(), TEB, key_present=1)),
    "ERSPAN II": carried(erspan2(sip())),
    "ERSPAN III": carried(erspan3(sip(), PLATFORM), "IPv6"),
    "TZSP": carried(tzsp(sip())),
    "IPIP": carried(ipip(BARE4)),
    "6in4": carried(ipip(BARE6)),
}
