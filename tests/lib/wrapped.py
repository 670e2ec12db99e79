"""The packets of every mirror there is, made by Scapy: each form once, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from scapy.contrib.erspan import ERSPAN_II, ERSPAN_III, ERSPAN_PlatformSpecific
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.contrib.tzsp import TZSP, TZSPTagEnd, TZSPTagPadding, TZSPTagRawRSSIByte
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

MADE_UP = {"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}
ETHERNET, ERSPAN_I_II, ERSPAN_3 = 0x6558, 0x88BE, 0x22EB
PORT = 51000  # that mirrors send from


@dataclass(frozen=True)
class Form:
    """`source`: the type that the file calls it by. `wrap`: what stands between the outer IP header and the
    frame, or the frame's IP packet where the form is `bare`. `vni`: the number that the tunnel itself has."""

    source: str
    wrap: Callable[[Packet], Packet]
    bare: bool = False
    vni: int | None = None

    def packet(self, outer: Packet, frame: bytes) -> bytes:
        return bytes(outer / self.wrap(Ether(frame).payload if self.bare else Raw(frame)))

    def expected(self, frame: bytes) -> bytes:
        """The frame as it leaves."""
        return bytes(Ether(**MADE_UP))[:12] + frame[12:] if self.bare else frame


def outer_ipv4(sender: str, receiver: str, to_mac: str) -> Packet:
    return Ether(src="02:00:00:00:01:17", dst=to_mac) / IP(src=sender, dst=receiver, ttl=60)


def outer_ipv6(sender: str, receiver: str, to_mac: str) -> Packet:
    return Ether(src="02:00:00:00:01:17", dst=to_mac) / IPv6(src=sender, dst=receiver, hlim=60)


def _udp(port: int) -> Packet:
    return UDP(sport=PORT, dport=port)


def vxlan(vni: int, port: int = 4789) -> Callable[[Packet], Packet]:
    return lambda inner: _udp(port) / VXLAN(flags=0x08, vni=vni) / inner


def geneve(vni: int, proto: int, options: Iterable[Any] = ()) -> Callable[[Packet], Packet]:
    return lambda inner: _udp(6081) / GENEVE(proto=proto, vni=vni, options=list(options)) / inner


def _gateway(inner: Packet) -> Packet:
    """An AWS gateway load balancer: who asked, and which flow, in options; the mirror's packet behind."""
    options = [
        GeneveOptions(classid=0x0108, type=kind, data=bytes(range(size)))
        for kind, size in ((1, 8), (2, 8), (3, 4))
    ]
    carried = IP(src="198.51.100.7", dst="198.51.100.8") / vxlan(17)(inner)
    return geneve(0, 0x0800, options)(carried)


def gre(proto: int, **fields: Any) -> Callable[[Packet], Packet]:
    return lambda inner: GRE(proto=proto, **fields) / inner


def _sequenced(proto: int) -> Packet:
    return GRE(proto=proto, seqnum_present=1, sequence_number=7)


def _erspan3(inner: Packet) -> Packet:
    return _sequenced(ERSPAN_3) / ERSPAN_III(session_id=33, timestamp=99, gra=2) / inner


def _erspan3_platform(inner: Packet) -> Packet:
    header = ERSPAN_III(session_id=34, gra=2, o=1) / ERSPAN_PlatformSpecific(platf_id=3)
    return _sequenced(ERSPAN_3) / header / inner


def _tzsp(inner: Packet) -> Packet:
    tags = TZSPTagPadding() / TZSPTagRawRSSIByte(raw_rssi=200) / TZSPTagEnd()
    return _udp(37008) / TZSP(type=0, encapsulated_protocol=1) / tags / inner


_ALL_OF_GRE = {"key_present": 1, "key": 5, "seqnum_present": 1, "sequence_number": 9, "chksum_present": 1}

FORMS: dict[str, Form] = {
    "vxlan": Form("vxlan", vxlan(17), vni=17),
    "geneve": Form("geneve", geneve(18, ETHERNET), vni=18),
    "geneve with options": Form(
        "geneve", geneve(19, ETHERNET, [GeneveOptions(classid=0x0102, type=1, data=bytes(124))]), vni=19
    ),
    "geneve of a gateway load balancer": Form("geneve", _gateway, vni=17),
    "geneve with IP": Form("geneve", geneve(20, 0x0800), bare=True, vni=20),
    "gre": Form("gre", gre(ETHERNET)),
    "gre with key, sequence and checksum": Form("gre", gre(ETHERNET, **_ALL_OF_GRE)),
    "gre with IP": Form("gre", gre(0x0800), bare=True),
    "gre with IP, key, sequence and checksum": Form("gre", gre(0x0800, **_ALL_OF_GRE), bare=True),
    "erspan I": Form("erspan", gre(ERSPAN_I_II), vni=0),
    "erspan II": Form(
        "erspan", lambda inner: _sequenced(ERSPAN_I_II) / ERSPAN_II(session_id=32, index=4) / inner, vni=32
    ),
    "erspan III": Form("erspan", _erspan3, vni=33),
    "erspan III with a platform header": Form("erspan", _erspan3_platform, vni=34),
    "tzsp": Form("tzsp", _tzsp),
    "ipip": Form("ipip", lambda inner: inner, bare=True),
}  # fmt: skip

# Around a frame with IPv6.
BARE_IPV6: dict[str, Form] = {
    "geneve with IPv6": Form("geneve", geneve(24, 0x86DD), bare=True, vni=24),
    "gre with IPv6": Form("gre", gre(0x86DD), bare=True),
    "ipip with IPv6": Form("ipip", lambda inner: inner, bare=True),
}
