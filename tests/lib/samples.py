"""Mirrored frames, as a switch or a cloud would send them, built by Scapy: each kind once, by name."""

from __future__ import annotations

from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, LLC, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from tests.lib.datapath import COLLECTOR, TMETER, TMETER_PORT

PHONE_MAC, PBX_MAC = "02:00:00:00:00:11", "02:00:00:00:00:12"
BROADCAST = "ff:ff:ff:ff:ff:ff"
MIRROR = "198.51.100.7"
TELEPHONES = {"src": "10.0.0.11", "dst": "10.0.0.12"}
TELEPHONES6 = {"src": "2001:db8::11", "dst": "2001:db8::12"}
INVITE = b"INVITE sip:100@example.com SIP/2.0\r\n\r\n"


def ether(**fields: Any) -> Any:
    return Ether(**{"dst": PBX_MAC, "src": PHONE_MAC} | fields)


def tagged(tags: int) -> Any:
    """Ethernet with 802.1Q tags, 802.1ad outermost where there are several."""
    layers = ether()
    for number in range(tags):
        layers /= Dot1AD(vlan=100) if number == 0 and tags > 1 else Dot1Q(vlan=200 + number, prio=5)
    return layers


def sip(ethernet: Any = None, **ip: Any) -> bytes:
    layers = (ether() if ethernet is None else ethernet) / IP(**TELEPHONES | ip)
    return bytes(layers / UDP(sport=5060, dport=5060) / INVITE)


def sized(size: int, **ip: Any) -> bytes:
    """A UDP frame of that many bytes, in which a byte that is moved or lost shows."""
    payload = bytes((i * 7 + i // 256) % 256 for i in range(size - 42))
    frame = bytes(ether() / IP(**TELEPHONES | ip) / UDP(sport=9000, dport=20000) / payload)
    assert len(frame) == size
    return frame


def to_tmeter(ethernet: Any = None, **ip: Any) -> bytes:
    """An outer packet of the collector's own, seen again in the mirror."""
    layers = (ether() if ethernet is None else ethernet) / IP(**{"src": COLLECTOR, "dst": TMETER} | ip)
    return bytes(layers / UDP(sport=50000, dport=TMETER_PORT, chksum=0) / VXLAN(flags=8, vni=12) / sip())


def mirrored(inner: bytes, *, ethernet: Any = None, behind: bytes = b"", **fields: Any) -> bytes:
    """A mirror's VXLAN packet to the collector. `fields` of its headers by prefix, as `udp_len=7`;
    `ethernet` for the layers in front, `behind` for bytes after its end."""
    layers: dict[str, dict[str, Any]] = {
        "ip": {"src": MIRROR, "dst": COLLECTOR},
        "udp": {"sport": 51000, "dport": TMETER_PORT, "chksum": 0},
        "vxlan": {"flags": 8, "vni": 17},
    }
    for name, value in fields.items():
        protocol, _, field = name.partition("_")
        layers[protocol][field] = value
    headers = (ether() if ethernet is None else ethernet) / IP(**layers["ip"])
    return bytes(headers / UDP(**layers["udp"]) / VXLAN(**layers["vxlan"]) / inner) + behind


ANYTHING: dict[str, bytes] = {
    "UDP": sip(),
    "UDP without payload": bytes(ether() / IP(**TELEPHONES) / UDP(sport=9000, dport=20000)),
    "UDP checksum wrong": bytes(ether() / IP(**TELEPHONES) / UDP(sport=1, dport=2, chksum=0xBAD) / b"x"),
    "TCP": bytes(ether() / IP(**TELEPHONES) / TCP(sport=40000, dport=5061, flags="PA") / INVITE),
    "SCTP": bytes(ether() / IP(**TELEPHONES) / SCTP(sport=2905, dport=2905)),
    "ICMP": bytes(ether() / IP(**TELEPHONES) / ICMP(id=7, seq=1) / b"abcdefgh"),
    "IGMP": bytes(ether() / IP(src="10.0.0.11", dst="224.0.0.22", proto=2) / Raw(b"\x16\0\x09\x04")),
    "first fragment": bytes(ether() / IP(**TELEPHONES, flags="MF") / UDP(sport=5060, dport=5060) / INVITE),
    "later fragment": bytes(ether() / IP(**TELEPHONES, frag=185, proto=17, id=9) / Raw(b"later" * 20)),
    "ARP": bytes(ether(dst=BROADCAST) / ARP(psrc="10.0.0.11", pdst="10.0.0.12", hwsrc=PHONE_MAC)),
    "ARP, padded": bytes(ether(dst=BROADCAST) / ARP(psrc="10.0.0.11", pdst="10.0.0.12")).ljust(60, b"\0"),
    "ping to the collector": bytes(ether() / IP(src="10.0.0.11", dst=COLLECTOR) / ICMP() / b"abcdefgh"),
    "IPv6": bytes(ether() / IPv6(**TELEPHONES6) / UDP(sport=5060, dport=5060) / INVITE),
    "IPv6, ICMP": bytes(ether() / IPv6(**TELEPHONES6) / ICMPv6EchoRequest(data=b"abc")),
    "IPv6 with extension headers": bytes(
        ether()
        / IPv6(**TELEPHONES6)
        / IPv6ExtHdrHopByHop()
        / IPv6ExtHdrDestOpt()
        / IPv6ExtHdrRouting(addresses=["2001:db8::99"])
        / UDP(sport=5060, dport=5060)
        / INVITE
    ),
    "IPv6 fragment": bytes(ether() / IPv6(**TELEPHONES6) / IPv6ExtHdrFragment(offset=185) / Raw(b"x" * 90)),
    "IPv6 cut short": bytes(ether() / IPv6(**TELEPHONES6))[:40],
    "IPv6 extension longer than the frame": bytes(
        ether() / IPv6(**TELEPHONES6, nh=0) / Raw(b"\x11\xff" + bytes(6))
    ),
    "IPv6 with ten extensions": bytes(
        ether() / IPv6(**TELEPHONES6, nh=60) / Raw((b"\x3c" + bytes(7)) * 9 + b"\x11" + bytes(47))
    ),
    "broadcast": sip(ether(dst=BROADCAST), dst="255.255.255.255"),
    "multicast": sip(ether(dst="01:00:5e:00:01:4b"), dst="224.0.1.75"),
    "spanning tree": bytes(
        Dot3(dst="01:80:c2:00:00:00", src=PBX_MAC) / LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP()
    ),
    "LLDP": bytes(ether(dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes.fromhex("0207040200000000120000"))),
    "unknown ethertype": bytes(ether(type=0x88B5) / Raw(b"anything")),
    "Ethernet header alone": bytes(ether(type=0x0800)),
    "tag cut short": bytes(ether(type=0x8100) / Raw(b"\0")),
    "IPv4 header cut short": sip()[:27],
    "IPv4 header cut short behind a tag": sip(tagged(1))[:31],
    "IPv6 cut short behind a tag": bytes(tagged(1) / IPv6(**TELEPHONES6))[:44],
    "ports cut short": sip()[:36],
    "ihl below 5": sip(ihl=4),
    "ihl beyond the end": bytes(ether() / IP(**TELEPHONES, ihl=15, proto=17)),
    "IP version 6 in an IPv4 frame": sip(version=6),
    "IP length too long": sip(len=1400),
    "IP length zero": sip(len=0),
    "IP options": sip(options="\x01" * 8),
    "longest IP options": sip(options="\x01" * 40),
    "VXLAN to somebody else": mirrored(sip()),
    "the t-meter's port at another address": to_tmeter(dst="10.0.0.2"),
    "another port at the t-meter": bytes(ether() / IP(src=COLLECTOR, dst=TMETER) / UDP(sport=5, dport=4790)),
    "TCP to the t-meter's port": bytes(ether() / IP(src=COLLECTOR, dst=TMETER) / TCP(dport=TMETER_PORT)),
    "fragment to the t-meter with ihl below 5": bytes(
        ether() / IP(src=COLLECTOR, dst=TMETER, ihl=4, frag=100, proto=17) / Raw(bytes(90))
    ),
    "from the t-meter": bytes(ether() / IP(src=TMETER, dst=COLLECTOR) / UDP(sport=TMETER_PORT, dport=50000)),
    **{f"{n} VLAN tags": sip(tagged(n)) for n in range(1, 9)},
    "VLAN tag and ARP": bytes(tagged(1) / ARP(psrc="10.0.0.11", pdst="10.0.0.12")),
    "old QinQ tag 0x9100": bytes(ether(type=0x9100)) + b"\x00\x05" + sip()[12:],
}

# Of these the kernel's test run makes no packet for tc. They are tried there behind a tag and inside VXLAN.
NOT_AT_TC = frozenset({"Ethernet header alone", "IPv4 header cut short", "IPv6 cut short"})

# Behind more tags than are looked behind: nobody can say that it is no loop.
TOO_MANY_TAGS: dict[str, bytes] = {
    "9": sip(tagged(9)),
    "9, a loop": to_tmeter(tagged(9)),
    "9, ARP": bytes(tagged(9) / ARP()),
    "9, cut short": sip(tagged(9))[:48],
    "9, of which one is old": bytes(ether(type=0x9100)) + b"\x00\x05" + sip(tagged(8))[12:],
    "12": sip(tagged(12)),
}

LOOPS: dict[str, bytes] = {
    "outer packet": to_tmeter(),
    "from another collector": to_tmeter(src="192.0.2.9"),
    "behind a VLAN tag": to_tmeter(tagged(1)),
    "behind three VLAN tags": to_tmeter(tagged(3)),
    "behind eight VLAN tags": to_tmeter(tagged(8)),
    "behind IP options": to_tmeter(options="\x01" * 12),
    "first fragment": to_tmeter(flags="MF"),
    "later fragment": bytes(ether() / IP(src=COLLECTOR, dst=TMETER, frag=100, proto=17) / Raw(bytes(90))),
    "later fragment behind a VLAN tag": bytes(
        tagged(1) / IP(src=COLLECTOR, dst=TMETER, frag=100, proto=17) / Raw(bytes(90))
    ),
}
