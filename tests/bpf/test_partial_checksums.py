"""Frames whose checksum is left to the NIC, as between virtual machines: they go through the splitter, which
completes it, and with them their flow."""

from __future__ import annotations

import struct

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Packet

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
RIGHT = bytes(ether() / IP(**TELEPHONES) / udp(1) / INVITE)
COMPLETE: dict[str, bytes] = {
    "one more": frame(IP(**TELEPHONES), udp(8), off_by=1),
    "one less": frame(IPv6(**TELEPHONES6), tcp(8), off_by=-1),
    "right": RIGHT,
    "none": bytes(ether() / IP(**TELEPHONES) / UDP(sport=5060, dport=5060, chksum=0) / INVITE),
    "first fragment": frame(IP(**TELEPHONES, flags="MF"), udp(8)),
}


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
