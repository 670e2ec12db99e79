"""Which packets have a checksum that is still to be completed, told a second time in plain Python."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.lib.decapsulation import (
    GRE,
    IPV4_IN_IP,
    IPV6_IN_IP,
    UDP,
    Carrier,
    gre_options,
    read_ipv4,
    read_plain_ipv6,
)

_TCP, _SCTP = 6, 132
_VXLAN_PORTS, _GENEVE_PORT = {4789, 8472}, 6081
_IP, _IP6, _TEB = 0x0800, 0x86DD, 0x6558
_TAG_TYPES = {0x8100, 0x88A8, 0x9100}


def is_open(datagram: Carrier) -> bool:
    """Its own, or that of the packet in its overlay. No fragment."""
    inside = _inside_overlay(datagram)
    return _is_open_itself(datagram) or (
        inside is not None and not inside.fragment and _is_open_itself(inside)
    )


def _is_open_itself(datagram: Carrier) -> bool:
    """The field holds the sum of the pseudo header (RFC 768, RFC 9293, RFC 8200), folded; SCTP's holds 0."""
    if datagram.protocol == _SCTP:
        return len(datagram.payload) >= 12 and not any(datagram.payload[8:12])
    at = {UDP: 6, _TCP: 16}.get(datagram.protocol)
    if at is None or len(datagram.payload) < at + 2:
        return False
    held = int.from_bytes(datagram.payload[at : at + 2], "big")
    addresses = datagram.source.packed + datagram.destination.packed
    words = [
        *struct.unpack(f"!{len(addresses) // 2}H", addresses),
        datagram.protocol,
        datagram.length & 0xFFFF,
    ]
    return held != 0 and held == (sum(words) - 1) % 0xFFFF + 1


def _inside_overlay(datagram: Carrier) -> Carrier | None:
    if datagram.protocol not in _OVERLAYS:
        return None
    ethertype, packet = _OVERLAYS[datagram.protocol](datagram.payload)
    if ethertype == _TEB:
        ethertype, packet = int.from_bytes(packet[12:14], "big"), packet[14:]
        if ethertype in _TAG_TYPES:
            ethertype, packet = int.from_bytes(packet[2:4], "big"), packet[4:]
    read = {_IP: read_ipv4, _IP6: read_plain_ipv6}.get(ethertype)
    return read(packet) if read else None


def _in_udp(payload: bytes) -> tuple[int, bytes]:
    """VXLAN (RFC 7348) and GENEVE (RFC 8926)."""
    port = int.from_bytes(payload[2:4], "big")
    if len(payload) < 16 or port not in _VXLAN_PORTS | {_GENEVE_PORT}:
        return 0, b""
    if port in _VXLAN_PORTS:
        return _TEB, payload[16:]
    return int.from_bytes(payload[10:12], "big"), payload[16 + 4 * (payload[8] & 0x3F) :]


def _in_gre(payload: bytes) -> tuple[int, bytes]:
    flags = int.from_bytes(payload[:2], "big")
    if len(payload) < 4 or flags & 0x4007:
        return 0, b""
    return int.from_bytes(payload[2:4], "big"), payload[4 + gre_options(flags) :]


_OVERLAYS: dict[int, Callable[[bytes], tuple[int, bytes]]] = {
    UDP: _in_udp,
    GRE: _in_gre,
    IPV4_IN_IP: lambda payload: (_IP, payload),
    IPV6_IN_IP: lambda payload: (_IP6, payload),
}
