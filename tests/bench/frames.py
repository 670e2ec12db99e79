"""The frames that are sent, and what of them has to arrive."""

from __future__ import annotations

from dataclasses import dataclass

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.utils import checksum

from collector.errors import HostError

FLOWS = 256
VNI = 12
VXLAN_PORT = 4789
OUTER_BYTES = 50
INNER_HEADER_BYTES = 42  # Ethernet, IPv4, UDP
VXLAN_HEADER = bytes([0x08, 0, 0, 0]) + VNI.to_bytes(3, "big") + b"\0"


class WrongFrameError(HostError):
    """A frame arrived that is not what was to arrive: the figures of this run mean nothing."""


@dataclass(frozen=True)
class Outer:
    """The addresses around a mirrored frame."""

    source_mac: str
    mac: str
    source: str
    address: str

    def wrap(self, frame: bytes, source_port: int) -> bytes:
        ethernet = Ether(src=self.source_mac, dst=self.mac)
        udp = UDP(sport=source_port, dport=VXLAN_PORT, chksum=0)
        outer = ethernet / IP(src=self.source, dst=self.address) / udp / VXLAN(flags=0x08, vni=VNI)
        return bytes(outer / frame)


def mirrored(size: int) -> list[bytes]:
    """One frame of each flow, without FCS. Nobody on the way has their MAC or IP addresses."""
    ethernet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    payload = bytes(size - INNER_HEADER_BYTES)
    return [
        bytes(
            ethernet
            / IP(src=f"198.51.100.{flow}", dst="203.0.113.7")
            / UDP(sport=9000 + flow, dport=9000)
            / payload
        )
        for flow in range(FLOWS)
    ]


def check_outer(packet: bytes, t_meter: str) -> bytes:
    """The frame inside; the VXLAN header's own bits were held against VXLAN_HEADER when it was counted."""
    ethernet = Ether(packet)
    ip, udp = ethernet[IP], ethernet[UDP]
    found = (checksum(packet[14:34]), ip.len, ip.frag, ip.dst, udp.dport, udp.len, packet[42:50])
    wanted = (0, len(packet) - 14, 0, t_meter, VXLAN_PORT, len(packet) - 34, VXLAN_HEADER)
    if found != wanted:
        raise WrongFrameError(f"the outer packet has {found} and not {wanted}")
    return packet[OUTER_BYTES:]


def swapped(frame: bytes) -> bytes:
    """With its MAC addresses the other way round, as the pure redirect leaves it."""
    return frame[6:12] + frame[:6] + frame[12:]


def check_frame(frame: bytes, sent: frozenset[bytes]) -> None:
    if frame not in sent:
        raise WrongFrameError(f"a frame was changed on its way: {frame[:64].hex(' ')}")
