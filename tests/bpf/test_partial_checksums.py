"""Frames whose checksum is left to the NIC, as between virtual machines: they go through the splitter, which
completes it, and with them their flow."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import GRE
from scapy.layers.sctp import SCTP, SCTPChunkCookieAck
from scapy.packet import Packet, Raw

from tests.lib.check import NO_CHANGE, assert_left_to_tc, assert_sent
from tests.lib.datapath import Datapath, Hook, Site
from tests.lib.samples import INVITE, TELEPHONES, TELEPHONES6, ether, mirrored, tagged

VNI, FRAME_MARK = 12, 0xC05A0100


def folded_pseudo_header(source: bytes, destination: bytes, length: int, protocol: int) -> int:
    """RFC 768, RFC 9293, RFC 8200 section 8.1."""
    addresses = source + destination
    total: int = sum(struct.unpack(f"!{len(addresses) // 2}H", addresses)) + length + protocol
    return (total - 1) % 0xFFFF + 1


def frame(network: Packet, transport: Packet, *, off_by: int = 0, ethernet: Packet | None = None) -> bytes:
    """With the sum that a virtual switch leaves, or another."""
    length, protocol = len(transport) + len(INVITE), 6 if isinstance(transport, TCP) else 17
    ends = bytes(network.copy())
    addresses = (ends[12:16], ends[16:20]) if isinstance(network, IP) else (ends[8:24], ends[24:40])
    transport.chksum = folded_pseudo_header(*addresses, length, protocol) + off_by
    return bytes((ethernet or ether()) / network / transport / INVITE)


# Each with a flow of its own: what has once gone the other way goes on doing so.


def udp(port: int) -> UDP:
    return UDP(sport=port, dport=5060)


def tcp(port: int) -> TCP:
    return TCP(sport=port, dport=5061, flags="PA")


PARTIAL: dict[str, bytes] = {
    "UDP": frame(IP(**TELEPHONES), udp(1)),
    "TCP": frame(IP(**TELEPHONES), tcp(2)),
    "UDP behind IP options": frame(IP(**TELEPHONES, options="\x01" * 8), udp(3)),
    "UDP over IPv6": frame(IPv6(**TELEPHONES6), udp(4)),
    "TCP over IPv6": frame(IPv6(**TELEPHONES6), tcp(5)),
    "UDP behind an IPv6 extension header": frame(IPv6(**TELEPHONES6) / IPv6ExtHdrDestOpt(), udp(6)),
    "UDP behind a VLAN tag": frame(IP(**TELEPHONES), udp(7), ethernet=tagged(1)),
}
SCTP_CHUNK = SCTP(sport=10, dport=2905, tag=7) / SCTPChunkCookieAck()
OPEN_SCTP = SCTP(sport=10, dport=2905, tag=7, chksum=0) / SCTPChunkCookieAck()
PARTIAL |= {
    "SCTP": bytes(ether() / IP(**TELEPHONES) / OPEN_SCTP),
    "SCTP over IPv6": bytes(ether() / IPv6(**TELEPHONES6) / OPEN_SCTP),
}
RIGHT = bytes(ether() / IP(**TELEPHONES) / udp(1) / INVITE)
COMPLETE: dict[str, bytes] = {
    "one more": frame(IP(**TELEPHONES), udp(8), off_by=1),
    "one less": frame(IPv6(**TELEPHONES6), tcp(8), off_by=-1),
    "right": RIGHT,
    "none": bytes(ether() / IP(**TELEPHONES) / UDP(sport=5060, dport=5060, chksum=0) / INVITE),
    "first fragment": frame(IP(**TELEPHONES, flags="MF"), udp(8)),
    "SCTP": bytes(ether() / IP(**TELEPHONES) / SCTP_CHUNK),
    "SCTP, cut short": bytes(ether() / IP(**TELEPHONES) / OPEN_SCTP)[:45],
}


# Overlays: what is left open is inside. Each in an outer packet, and so in a flow, of its own.


def overlay(packet: bytes, **ip: str) -> dict[str, bytes]:
    """A frame in each kind of overlay between two hosts."""
    bare, ethertype = packet[14:], int.from_bytes(packet[12:14], "big")
    hosts: dict[str, Any] = {"src": "203.0.113.1", "dst": "203.0.113.2"} | ip
    geneve = bytes.fromhex("02006558 00000700 01020301 deadbeef")
    geneve_ip = bytes.fromhex("0000") + ethertype.to_bytes(2, "big") + bytes.fromhex("00000700")
    in_udp = {
        "VXLAN": (4789, VXLAN_HEADER + packet),
        "VXLAN at its old port": (8472, VXLAN_HEADER + packet),
        "GENEVE with options": (6081, geneve + packet),
        "GENEVE, IP inside": (6081, geneve_ip + bare),
    }
    in_ip = {
        "GRE, Ethernet inside": (47, bytes(GRE(proto=0x6558)) + packet),
        "GRE with key and sequence": (
            47,
            bytes(GRE(proto=ethertype, key_present=1, seqnum_present=1, key=7)) + bare,
        ),
        "IP in IP": (4 if ethertype == 0x0800 else 41, bare),
    }
    made = {
        name: bytes(ether() / IP(**hosts) / UDP(sport=50000, dport=port, chksum=0) / content)
        for name, (port, content) in in_udp.items()
    }
    for name, (protocol, content) in in_ip.items():
        made[name] = bytes(ether() / IP(**hosts, proto=protocol) / Raw(content))
    return made


VXLAN_HEADER = bytes.fromhex("08000000 00000700")
INSIDE: dict[str, bytes] = {
    "UDP": PARTIAL["UDP"],
    "TCP over IPv6": PARTIAL["TCP over IPv6"],
    "UDP behind a VLAN tag": PARTIAL["UDP behind a VLAN tag"],
    "SCTP": PARTIAL["SCTP"],
}
BARE_ETHERTYPES = {b"\x08\x00", b"\x86\xdd"}
OVERLAID = [
    (inside, kind)
    for inside, packet in INSIDE.items()
    for kind in overlay(packet)
    if packet[12:14] in BARE_ETHERTYPES or kind in ("VXLAN", "GENEVE with options", "GRE, Ethernet inside")
]


@pytest.fixture(scope="module")
def span(site: Site) -> Datapath:
    return site.load_fresh(site.span(vni=VNI))


@pytest.mark.parametrize("name", PARTIAL)
def test_left_to_the_splitter(site: Site, span: Datapath, name: str) -> None:
    """Nothing is counted until the frame comes back."""
    packet = PARTIAL[name]
    assert_left_to_tc(span, packet)
    outcome = span.run("tc", packet)
    assert (outcome.verdict, outcome.packet, outcome.mark) == ("sent", packet, FRAME_MARK)
    assert outcome.change == NO_CHANGE
    returned = span.run("tc", packet, site.splitter.rx, mark=FRAME_MARK)
    assert_sent(returned, "pbx", packet, VNI)


@pytest.mark.parametrize("name", COMPLETE)
def test_sent_at_once(site: Site, hook: Hook, name: str) -> None:
    assert_sent(site.load(site.span(vni=VNI)).run(hook, COMPLETE[name]), "pbx", COMPLETE[name], VNI)


@pytest.mark.parametrize(("inside", "kind"), OVERLAID)
def test_left_open_inside_an_overlay(site: Site, inside: str, kind: str) -> None:
    """Nothing is taken off: the kernel completes it where it is."""
    span, packet = site.load_fresh(site.span(vni=VNI)), overlay(INSIDE[inside])[kind]
    assert_left_to_tc(span, packet)
    outcome = span.run("tc", packet)
    assert (outcome.verdict, outcome.packet, outcome.mark) == ("sent", packet, FRAME_MARK)
    returned = span.run("tc", packet, site.splitter.rx, mark=FRAME_MARK)
    assert_sent(returned, "pbx", packet, VNI)


def test_left_open_inside_an_overlay_over_ipv6(site: Site) -> None:
    packet = bytes(
        tagged(2)
        / IPv6(src="2001:db8:5::1", dst="2001:db8:5::2")
        / UDP(sport=50000, dport=4789)
        / Raw(VXLAN_HEADER + PARTIAL["TCP over IPv6"])
    )
    assert_left_to_tc(site.load_fresh(site.span(vni=VNI)), packet)


@pytest.mark.parametrize("kind", overlay(RIGHT))
@pytest.mark.parametrize("inside", ["right", "one more", "SCTP"])
def test_complete_inside_an_overlay(site: Site, hook: Hook, inside: str, kind: str) -> None:
    packet = overlay(COMPLETE[inside])[kind]
    assert_sent(site.load(site.span(vni=VNI)).run(hook, packet), "pbx", packet, VNI)


def test_no_overlay(site: Site, hook: Hook) -> None:
    """Another port; and one level is looked into."""
    packet = bytes(ether() / IP(**TELEPHONES) / UDP(dport=4790) / Raw(VXLAN_HEADER + PARTIAL["UDP"]))
    twice = overlay(overlay(PARTIAL["UDP"])["VXLAN"], src="203.0.113.3")["VXLAN"]
    for frame in (packet, twice):
        assert_sent(site.load(site.span(vni=VNI)).run(hook, frame), "pbx", frame, VNI)


def test_cut_short_inside_an_overlay(site: Site, hook: Hook) -> None:
    datapath = site.load(site.span(vni=VNI))
    for kind, whole in overlay(PARTIAL["UDP"]).items():
        end = whole.index(INVITE) - 1
        for size in range(40, end):
            outcome = datapath.run(hook, whole[:size])
            assert outcome.verdict == "sent", (kind, size)


def test_the_flow_follows(site: Site) -> None:
    """So that its frames keep their order."""
    datapath = site.load_fresh(site.span(vni=VNI))
    assert_left_to_tc(datapath, PARTIAL["UDP"])
    assert_left_to_tc(datapath, RIGHT)
    assert datapath.run("tc", PARTIAL["UDP"]).mark == FRAME_MARK
    assert datapath.run("tc", RIGHT).mark == FRAME_MARK


def test_inside_a_mirrors_tunnel(site: Site) -> None:
    """Left open there too, where the mirror is a virtual switch that puts the tunnel around itself."""
    datapath = site.load_fresh(site.vxlan())
    packet = mirrored(PARTIAL["UDP"])
    assert_left_to_tc(datapath, packet)
    outcome = datapath.run("tc", packet)
    assert (outcome.verdict, outcome.packet, outcome.mark) == ("sent", packet, FRAME_MARK)
