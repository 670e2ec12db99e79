"""What has to come out, built by Scapy: the outer packet around a frame, and its fragments."""

from __future__ import annotations

import struct

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from tests.lib.datapath import COLLECTOR, COLLECTOR_MAC, TMETER, TMETER_MAC, TMETER_PORT

OVERHEAD = 50  # bytes in front of the inner frame
IP_OVERHEAD = 36  # of those, what counts against the path's MTU
_ETHERNET, _IP = 14, 20


def outer_packet(
    inner: bytes,
    vni: int,
    *,
    source_port: int,
    ip_id: int,
    to_mac: str = TMETER_MAC,
    from_mac: str = COLLECTOR_MAC,
    to: str = TMETER,
    port: int = TMETER_PORT,
) -> bytes:
    """RFC 7348, as section "What goes out" of the design has it."""
    headers = (
        Ether(dst=to_mac, src=from_mac)
        / IP(src=COLLECTOR, dst=to, ttl=64, id=ip_id, flags=0, tos=0)
        / UDP(sport=source_port, dport=port, chksum=0)
        / VXLAN(flags=0x08, vni=vni)
    )
    return bytes(headers / inner)


def source_port(packet: bytes) -> int:
    port: int = struct.unpack_from("!H", packet, _ETHERNET + _IP)[0]
    return port


def fragments(packet: bytes, path_mtu: int) -> list[bytes]:
    """RFC 791: as many as the path needs, all but the last of one size, a multiple of 8."""
    ip, payload = IP(packet[_ETHERNET : _ETHERNET + _IP]), packet[_ETHERNET + _IP :]
    room = (path_mtu - _IP) // 8 * 8
    count = -(-len(payload) // room)
    size = -(-len(payload) // count // 8) * 8
    pieces = []
    for at in range(0, len(payload), size):
        header, piece = ip.copy(), payload[at : at + size]
        del header.len, header.chksum
        header.frag, header.flags = at // 8, "MF" if at + size < len(payload) else 0
        header.remove_payload()
        pieces.append(packet[:_ETHERNET] + bytes(header / piece))
    return pieces
