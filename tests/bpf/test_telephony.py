"""The program says when the last SIP message and the last RTP packet came: by the ports, and by the
packet's own first bytes (RFC 3550 section 5.1, RFC 5761 section 4)."""

from __future__ import annotations

import struct
import time

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from collector.datapath import counters
from collector.datapath.ports import Ports, Telephony, telephony
from collector.datapath.settings import Oversize
from tests.lib.datapath import Datapath, Hook, Site
from tests.lib.samples import mirrored

USUAL = telephony([(5060, 5061)], [(9000, 20000)])
TICK = 0.011  # seconds: the coarsest tick of the kernel's clock
RTP = struct.pack(">BBHII", 0x80, 0, 1, 160, 7) + bytes(160)
RTCP = struct.pack(">BBHI", 0x80, 200, 6, 7) + bytes(20)
STUN = bytes.fromhex("0001000021 12a442") + bytes(12)
OPTIONS = b"OPTIONS sip:100@198.51.100.20 SIP/2.0\r\n\r\n"


def frame(transport: Packet, payload: bytes = b"", *, ipv6: bool = False, tags: int = 0) -> bytes:
    network = IPv6(src="2001:db8::10", dst="2001:db8::20") if ipv6 else IP(src="10.1.0.1", dst="10.1.0.2")
    link = Ether(src="02:00:00:00:00:11", dst="02:00:00:00:00:12")
    for number in range(tags):
        link /= Dot1AD(vlan=number + 1) if number else Dot1Q(vlan=900)
    return bytes(link / network / transport / Raw(payload))


def udp(source: int, dest: int, payload: bytes = RTP, *, ipv6: bool = False, tags: int = 0) -> bytes:
    return frame(UDP(sport=source, dport=dest), payload, ipv6=ipv6, tags=tags)


def fragment(offset: int, payload: bytes) -> bytes:
    link = Ether(src="02:00:00:00:00:11", dst="02:00:00:00:00:12")
    flags = "MF" if not offset else ""
    return bytes(link / IP(src="10.1.0.1", dst="10.1.0.2", proto=17, frag=offset, flags=flags) / Raw(payload))


def truncated(whole: bytes, kept: int) -> bytes:
    """`kept`: bytes behind the UDP header."""
    return whole[: 14 + 20 + 8 + kept]


KINDS = {
    "SIP over UDP": (udp(5060, 5060, OPTIONS), "sip"),
    "SIP to the port": (udp(40000, 5061, OPTIONS), "sip"),
    "SIP from the port": (udp(5060, 40000, OPTIONS), "sip"),
    "SIP over TCP": (frame(TCP(sport=40000, dport=5060, flags="PA"), OPTIONS), "sip"),
    "a TCP segment without data": (frame(TCP(sport=5061, dport=40000, flags="A")), "sip"),
    "SIP over IPv6": (udp(5060, 5060, OPTIONS, ipv6=True), "sip"),
    "SIP behind two tags": (udp(5060, 5060, OPTIONS, tags=2), "sip"),
    "SIP from an RTP port": (udp(9000, 5060, OPTIONS), "sip"),
    "a keep-alive of SIP": (udp(5060, 5060, b"\r\n\r\n"), "sip"),
    "nothing at the SIP port": (udp(5060, 5060, b""), "sip"),
    "RTP": (udp(9000, 9002), "rtp"),
    "RTP to the last port": (udp(40000, 20000), "rtp"),
    "RTP from the first port": (udp(9000, 40000), "rtp"),
    "RTP over IPv6": (udp(9000, 9002, ipv6=True), "rtp"),
    "RTP behind a tag": (udp(9000, 9002, tags=1), "rtp"),
    "RTP with the marker": (udp(9000, 9002, bytes([0x80, 0x80]) + RTP[2:]), "rtp"),
    "RTP of payload type 63": (udp(9000, 9002, bytes([0x80, 63]) + RTP[2:]), "rtp"),
    "RTP of payload type 96": (udp(9000, 9002, bytes([0x80, 96]) + RTP[2:]), "rtp"),
    "RTP with the marker, of payload type 63": (udp(9000, 9002, bytes([0x80, 191]) + RTP[2:]), "rtp"),
    "RTP with the marker, of payload type 96": (udp(9000, 9002, bytes([0x80, 224]) + RTP[2:]), "rtp"),
    "RTP with padding, extension, sources": (udp(9000, 9002, bytes([0xBF, 0]) + RTP[2:]), "rtp"),
    "RTP of two bytes": (truncated(udp(9000, 9002), 2), "rtp"),
    "RTP of one byte": (truncated(udp(9000, 9002), 1), ""),
    "RTP without a byte": (truncated(udp(9000, 9002), 0), ""),
    "RTCP, the first type": (udp(9001, 9003, bytes([0x80, 192]) + RTCP[2:]), ""),
    "RTCP, a sender report": (udp(9001, 9003, RTCP), ""),
    "RTCP, the last type": (udp(9001, 9003, bytes([0x80, 223]) + RTCP[2:]), ""),
    "STUN": (udp(9000, 9002, STUN), ""),
    "DTLS": (udp(9000, 9002, bytes.fromhex("16fefd") + bytes(40)), ""),
    "version 1": (udp(9000, 9002, bytes([0x40]) + RTP[1:]), ""),
    "version 3": (udp(9000, 9002, bytes([0xC0]) + RTP[1:]), ""),
    "RTP's ports in TCP": (frame(TCP(sport=9000, dport=9002), RTP), ""),
    "ports below": (udp(8999, 5059), ""),
    "ports above": (udp(20001, 5062), ""),
    "SIP's ports in SCTP": (frame(SCTP(sport=5060, dport=5060)), ""),
    "another protocol": (bytes(Ether() / IP(src="10.1.0.1", dst="10.1.0.2", proto=89) / Raw(RTP)), ""),
    "a first fragment": (fragment(0, bytes(UDP(sport=5060, dport=5060)) + OPTIONS[:32]), ""),
    "a later fragment": (fragment(5, OPTIONS), ""),
    "no IP": (bytes(Ether(type=0x88B5)) + OPTIONS, ""),
    "cut within the ports": (udp(5060, 5060)[: 14 + 20 + 3], ""),
    "cut behind the ports, SIP": (udp(5060, 5060)[: 14 + 20 + 4], "sip"),
    "cut behind the ports, RTP": (udp(9000, 9002)[: 14 + 20 + 4], ""),
}  # fmt: skip


BEHIND_AN_EXTENSION = bytes(
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    / IPv6(src="2001:db8::10", dst="2001:db8::20")
    / IPv6ExtHdrDestOpt()
    / UDP(sport=5060, dport=5060)
    / Raw(OPTIONS)
)


def moved(datapath: Datapath, hook: Hook, packet: bytes) -> set[str]:
    """Which of the times became the present. Within one tick none moves twice."""
    before = datapath.last_seen()
    start = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert datapath.run(hook, packet).verdict == "sent"
    after = datapath.last_seen()
    now = {name for name, at in after.items() if at != before[name]}
    assert all(at is not None and at >= start - TICK for name, at in after.items() if name in now)
    return now


def fresh(site: Site, ports: tuple[Ports, ...] = USUAL, **span: object) -> Datapath:
    """Nothing has come yet: the counters of the slot are at their beginning."""
    datapath = site.load(site.span("pbx", **span), telephony=ports)
    counters.reset_source(site.folder, 0)
    return datapath


@pytest.mark.parametrize("name", KINDS)
def test_what_it_is(site: Site, hook: Hook, name: str) -> None:
    packet, kind = KINDS[name]
    datapath = fresh(site)
    assert set(datapath.last_seen().values()) == {None}
    assert moved(datapath, hook, packet) == {"frame", kind} - {""}


def test_an_extension_header_before_it(site: Site, hook: Hook) -> None:
    assert moved(fresh(site), hook, BEHIND_AN_EXTENSION) == {"frame", "sip"}


def test_in_a_tunnel(site: Site, hook: Hook) -> None:
    """What counts is the mirrored frame, not what carries it."""
    datapath = site.load(site.vxlan(), telephony=telephony([(4789, 4789)], [(9000, 9001)]))
    counters.reset_source(site.folder, 0)
    assert moved(datapath, hook, mirrored(udp(9000, 40000))) == {"frame", "rtp"}
    assert moved(datapath, hook, mirrored(udp(40000, 40001))) <= {"frame"}


def test_other_ports(site: Site, hook: Hook) -> None:
    datapath = fresh(site, telephony([(5070, 5070)], [(30000, 30001)]))
    assert moved(datapath, hook, udp(5060, 9000)) == {"frame"}
    assert "sip" in moved(datapath, hook, udp(5070, 5060, OPTIONS))
    assert "rtp" in moved(datapath, hook, udp(30001, 9000))


def test_of_a_port_that_both_name_sip_has_it(site: Site, hook: Hook) -> None:
    datapath = fresh(site, telephony([(9500, 9500)], [(9000, 20000)]))
    assert moved(datapath, hook, udp(9500, 9002)) == {"frame", "sip"}
    assert "rtp" in moved(datapath, hook, udp(9501, 9002))


@pytest.mark.parametrize("port", [0, 1, 65534, 65535])
def test_the_ends_of_the_range(site: Site, hook: Hook, port: int) -> None:
    datapath = fresh(site, (Ports(port, port, Telephony.SIP),))
    assert moved(datapath, hook, udp(port, 33000)) == {"frame", "sip"}
    assert moved(datapath, hook, udp(port ^ 1, 33000)) <= {"frame"}


def test_without_any_ports(site: Site, hook: Hook) -> None:
    datapath = fresh(site, ())
    assert moved(datapath, hook, udp(5060, 5060, OPTIONS)) == {"frame"}


def test_a_dropped_one_was_seen_all_the_same(site: Site) -> None:
    """The times tell whether the mirror works, and so they do while the t-meter is away."""
    datapath = site.load(site.span("pbx"), telephony=USUAL, path_mtu=576, oversize=Oversize.DROP)
    counters.reset_source(site.folder, 0)
    outcome = datapath.run("tc", udp(5060, 5060, OPTIONS.ljust(600)))
    assert outcome.change["pbx oversize"] == 1
    seen = datapath.last_seen()
    assert seen["sip"] is not None
    assert seen["rtp"] is None
