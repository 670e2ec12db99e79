"""Frames of all kinds that a mirror port can send."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, LLC, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from tests.lib.tap import OUTER

PHONE, PBX = "02:00:00:00:00:01", "02:00:00:00:00:02"
BROADCAST = "ff:ff:ff:ff:ff:ff"
PHONE_IP, PBX_IP = "198.51.100.10", "198.51.100.20"
SMALLEST = 14
LEAST_LEGAL = 60
LARGEST = 1514

_eth = Ether(src=PHONE, dst=PBX)
_ip = IP(src=PHONE_IP, dst=PBX_IP)
_sip = UDP(sport=5060, dport=5060) / Raw(b"OPTIONS sip:pbx SIP/2.0\r\n\r\n")


def well_formed() -> dict[str, bytes]:
    """What any receiver takes as it is."""
    kinds: dict[str, Packet] = {
        "unicast": _eth / _ip / _sip,
        "broadcast": Ether(src=PHONE, dst=BROADCAST) / ARP(psrc=PHONE_IP, pdst=PBX_IP, hwsrc=PHONE),
        "multicast": Ether(src=PHONE, dst="01:00:5e:00:01:4b") / IP(src=PHONE_IP, dst="224.0.1.75") / _sip,
        "link local": Ether(src=PHONE, dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes(range(60))),
        "spanning tree": Dot3(src=PHONE, dst="01:80:c2:00:00:00") / LLC() / STP(),
        "tcp": _eth / _ip / TCP(sport=1024, dport=5061, flags="S"),
        "icmp": _eth / _ip / ICMP() / Raw(b"ping"),
        "options": _eth / IP(src=PHONE_IP, dst=PBX_IP, options=b"\x01" * 40) / _sip,
        "first fragment": _eth / IP(src=PHONE_IP, dst=PBX_IP, flags="MF") / _sip,
        "later fragment": _eth / IP(src=PHONE_IP, dst=PBX_IP, frag=100, proto=17) / Raw(b"x" * 80),
        "ipv6": _eth / IPv6(src="2001:db8::1", dst="2001:db8::2") / _sip,
        "ipv6 fragment": _eth / IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrFragment(nh=17) / _sip,
        "unknown ethertype": Ether(src=PHONE, dst=PBX, type=0x88B5) / Raw(b"y" * 100),
        "mpls": Ether(src=PHONE, dst=PBX, type=0x8847) / Raw(b"\x00\x01\x01\x40" + b"z" * 60),
        "vlan": _eth / Dot1Q(vlan=5, prio=6) / _ip / _sip,
        "priority tag": _eth / Dot1Q(vlan=0, prio=5) / _ip / _sip,
        "qinq": _eth / Dot1AD(vlan=7) / Dot1Q(vlan=5) / _ip / _sip,
        "three tags": _eth / Dot1AD(vlan=9) / Dot1Q(vlan=8) / Dot1Q(vlan=7) / _ip / _sip,
        "largest that fits": _eth / _ip / UDP(sport=1, dport=2) / Raw(b"f" * (1464 - 42)),
    }
    return {name: bytes(packet) for name, packet in kinds.items()}


def malformed() -> dict[str, bytes]:
    macs = bytes(_eth)[:12]
    udp = bytes(_eth / _ip / _sip)
    return {
        "header length too small": udp[:14] + b"\x43" + udp[15:],
        "header length beyond the end": udp[:14] + b"\x4f" + udp[15:38],
        "version 6 in an IPv4 frame": udp[:14] + b"\x65" + udp[15:],
        "total length too large": udp[:16] + b"\xff\xff" + udp[18:],
        "total length too small": udp[:16] + b"\x00\x01" + udp[18:],
        "wrong header checksum": udp[:24] + b"\xde\xad" + udp[26:],
        "udp header cut": udp[:38],
        "ipv6 extension cut": macs + b"\x86\xdd\x60" + bytes(6) + b"\x40" + bytes(32) + b"\x00\xff",
        "only zeros": bytes(64),
        "only ones": b"\xff" * 64,
        "multicast sender": bytes(Ether(src="01:00:5e:00:00:01", dst=PBX) / _ip / _sip),
        "same sender and receiver": bytes(Ether(src=PBX, dst=PBX) / _ip / _sip),
        "length field that lies": macs + struct.pack("!H", 1000) + bytes(50),
        "noise": random.Random(4).randbytes(300),  # noqa: S311
    }


def runts() -> dict[str, bytes]:
    """Shorter than Ethernet allows, of which a mirror may send some."""
    udp = bytes(_eth / _ip / _sip / Raw(bytes(20)))
    return {f"{size} bytes": udp[:size] for size in range(SMALLEST, LEAST_LEGAL)}


def to_t_meter() -> bytes:
    """A frame that is an outer packet of ours."""
    outer = Ether(src=PHONE, dst=PBX) / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=50000, dport=4789)
    return bytes(outer / VXLAN(vni=12) / _eth / _ip / _sip)


def without_tags(frame: bytes) -> bytes:
    while frame[12:14] in (b"\x81\x00", b"\x88\xa8", b"\x91\x00"):
        frame = frame[:12] + frame[16:]
    return frame


def numbered(count: int, sizes: tuple[int, ...], first: int = 0, flows: int = 1) -> Iterator[bytes]:
    """UDP frames that carry their number; `number()` reads it. `sizes` (bytes, 50 at least) take turns."""
    heads = [bytes(_eth / _ip / UDP(sport=1024 + flow, dport=5060))[:34] for flow in range(flows)]
    for number in range(first, first + count):
        size = sizes[number % len(sizes)]
        head = bytearray(heads[number % flows])
        struct.pack_into("!H", head, 16, size - 14)
        struct.pack_into("!HH", head, 24, 0, 0)
        struct.pack_into("!H", head, 24, _checksum(bytes(head[14:34])))
        udp = struct.pack("!4H", 1024 + number % flows, 5060, size - 34, 0)
        yield (bytes(head) + udp + struct.pack("!Q", number)).ljust(size, b"n")


def number(frame: bytes) -> int:
    return int(struct.unpack_from("!Q", frame, 42)[0])


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def complete(packets: Iterable[bytes]) -> list[int]:
    """The numbers of the frames in outer packets, in the order in which the last byte of each came."""
    begun: dict[bytes, int] = {}
    numbers = []
    for packet in packets:
        identification, fragment = packet[18:20], int.from_bytes(packet[20:22], "big")
        if not fragment & 0x1FFF:
            begun[identification] = number(packet[OUTER:])
        if not fragment & 0x2000:
            numbers.append(begun.pop(identification))
    return numbers
