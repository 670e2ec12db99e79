"""The frames that are sent, and what of them has to arrive."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet
from scapy.utils import checksum

from collector.errors import HostError

FLOWS = 256
VNI = 12
VXLAN_PORT = 4789
GENEVE_PORT = 6081
OUTER_BYTES = 50
OUTER_IPV6_BYTES = 70
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

    def vxlan(self, frame: bytes, flow: int, ports: int) -> bytes:
        udp = UDP(sport=50000 + flow, dport=VXLAN_PORT + flow % ports, chksum=0)
        return self._carry(udp / VXLAN(flags=0x08, vni=VNI) / frame)

    def geneve(self, frame: bytes, flow: int, _ports: int) -> bytes:
        udp = UDP(sport=50000 + flow, dport=GENEVE_PORT, chksum=0)
        return self._carry(udp / (bytes([0, 0, 0x65, 0x58]) + VNI.to_bytes(3, "big") + b"\0" + frame))

    def erspan(self, frame: bytes, flow: int, _ports: int) -> bytes:
        """Type II: GRE with a sequence number, and eight bytes."""
        gre = struct.pack("!HHI", 0x1000, 0x88BE, flow)
        return self._carry(gre + struct.pack("!HHI", 0x1000, VNI, 0) + frame, proto=47)

    def _carry(self, payload: Packet | bytes, **fields: int) -> bytes:
        ethernet = Ether(src=self.source_mac, dst=self.mac)
        return bytes(ethernet / IP(src=self.source, dst=self.address, **fields) / payload)


def outer_bytes(t_meter: str) -> int:
    return OUTER_BYTES if ip_address(t_meter).version == 4 else OUTER_IPV6_BYTES


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
    ethernet, headers = Ether(packet), outer_bytes(t_meter)
    udp, vxlan = ethernet[UDP], packet[headers - 8 : headers]
    found = (udp.dport, udp.len, vxlan)
    wanted = (VXLAN_PORT, len(packet) - headers + 16, VXLAN_HEADER)
    is_right = _is_right_ipv4 if headers == OUTER_BYTES else _is_right_ipv6
    if found != wanted or not is_right(packet, t_meter):
        raise WrongFrameError(f"the outer packet has {found} and not {wanted}, or its IP header is wrong")
    return packet[headers:]


def _is_right_ipv4(packet: bytes, t_meter: str) -> bool:
    ip = Ether(packet)[IP]
    found = (checksum(packet[14:34]), ip.len, ip.frag, ip.dst)
    return bool(found == (0, len(packet) - 14, 0, t_meter))


def _is_right_ipv6(packet: bytes, t_meter: str) -> bool:
    """Its UDP checksum, where there is one, is held against Scapy's."""
    ip = Ether(packet)[IPv6]
    unsummed = ip[UDP].chksum == 0 or in6_chksum(17, ip, packet[54:]) in (0, 0xFFFF)
    return bool((ip.plen, ip.dst) == (len(packet) - 54, t_meter) and unsummed)


def swapped(frame: bytes) -> bytes:
    """With its MAC addresses the other way round, as the pure redirect leaves it."""
    return frame[6:12] + frame[:6] + frame[12:]


def check_frame(frame: bytes, sent: frozenset[bytes]) -> None:
    if frame not in sent:
        raise WrongFrameError(f"a frame was changed on its way: {frame[:64].hex(' ')}")
