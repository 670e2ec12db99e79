"""What has to come out, built by Scapy: the outer packet around a frame, and its fragments."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from tests.lib.datapath import COLLECTOR, COLLECTOR_MAC, TMETER, TMETER_MAC, TMETER_PORT

# Of the headers in front of the inner frame, what counts against the path's MTU, by IP version.
IP_OVERHEAD = {4: 36, 6: 56}
_ETHERNET, _FRAGMENT_HEADER = 14, 8
_IP = {b"\x08\x00": 20, b"\x86\xdd": 40}


def outer_packet(
    inner: bytes,
    vni: int,
    *,
    source_port: int,
    ip_id: int = 0,
    to_mac: str = TMETER_MAC,
    from_mac: str = COLLECTOR_MAC,
    source: str = COLLECTOR,
    to: str = TMETER,
    port: int = TMETER_PORT,
    checksum: bool = False,
) -> bytes:
    """RFC 7348, as section "What goes out" of the design has it. `checksum`: by Scapy's own arithmetic."""
    network = (
        IPv6(src=source, dst=to, hlim=64, tc=0, fl=0)
        if ip_address(to).version == 6
        else IP(src=source, dst=to, ttl=64, id=ip_id & 0xFFFF, flags=0, tos=0)
    )
    udp = UDP(sport=source_port, dport=port, **({} if checksum else {"chksum": 0}))
    link = Ether(dst=to_mac, src=from_mac)
    return bytes(link / network / udp / VXLAN(flags=0x08, vni=vni) / inner)


def udp_start(packet: bytes) -> int:
    return _ETHERNET + _IP[packet[12:14]]


def source_port(packet: bytes) -> int:
    port: int = struct.unpack_from("!H", packet, udp_start(packet))[0]
    return port


def fragments(packet: bytes, path_mtu: int, ip_id: int = 0) -> list[bytes]:
    """RFC 791 and RFC 8200 section 4.5: as many as the path needs, all but the last of one size, a
    multiple of 8. `ip_id` is for IPv6: an IPv4 packet has its own."""
    ipv6 = packet[12:14] == b"\x86\xdd"
    start = udp_start(packet)
    payload = packet[start:]
    room = (path_mtu - (start - _ETHERNET) - (_FRAGMENT_HEADER if ipv6 else 0)) // 8 * 8
    count = -(-len(payload) // room)
    size = -(-len(payload) // count // 8) * 8
    pieces = []
    for at in range(0, len(payload), size):
        header = packet[_ETHERNET:start]
        more = at + size < len(payload)
        headers = _ipv6_piece(header, at, ip_id, more=more) if ipv6 else _ipv4_piece(header, at, more=more)
        pieces.append(packet[:_ETHERNET] + bytes(headers / payload[at : at + size]))
    return pieces


def _ipv4_piece(header: bytes, at: int, *, more: bool) -> IP:
    ip = IP(header)
    del ip.len, ip.chksum
    ip.frag, ip.flags = at // 8, "MF" if more else 0
    ip.remove_payload()
    return ip


def _ipv6_piece(header: bytes, at: int, ip_id: int, *, more: bool) -> IPv6:
    ip = IPv6(header)
    ip.remove_payload()
    del ip.plen, ip.nh
    return ip / IPv6ExtHdrFragment(nh=17, offset=at // 8, m=more, id=ip_id)
