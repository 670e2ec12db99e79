"""Finds what a mirrored frame carries. Nearly every frame is RTP: it decodes no more than it must."""

from __future__ import annotations

import struct
from typing import NamedTuple

Buffer = bytes | bytearray | memoryview

UDP = 17
TCP = 6

_VLAN_ETHERTYPES = frozenset({0x8100, 0x88A8, 0x9100})
_IPV4 = 0x0800
_IPV6 = 0x86DD
_IPV6_FRAGMENT = 44
_IPV6_OPTIONS = frozenset({0, 43, 60})
_MOST_IPV6_OPTIONS = 8

_u16 = struct.Struct("!H").unpack_from
_ports = struct.Struct("!HH").unpack_from


class Packet(NamedTuple):
    """An IP packet's header begins at `at`, its transport header at `start`; it ends at `end`.

    All are offsets in the frame.
    """

    protocol: int
    at: int
    start: int
    end: int


class Payload(NamedTuple):
    """What a UDP datagram or a TCP segment carries is frame[start:end], and is never empty.

    The header of its IP packet begins at `at`.
    """

    protocol: int
    at: int
    source_port: int
    destination_port: int
    start: int
    end: int


def find_payload(frame: Buffer) -> Payload | None:
    """None where there is none to see: not IP, a later fragment, another protocol, cut short."""
    packet = _find_packet(frame)
    if packet is None:
        return None
    protocol, at, start, end = packet
    if protocol == UDP:
        payload = start + 8
    elif protocol == TCP and start + 20 <= end:
        payload = start + max(frame[start + 12] >> 4, 5) * 4
    else:
        return None
    if payload >= end:
        return None
    source, destination = _ports(frame, start)
    return Payload(protocol, at, source, destination, payload, end)


def addresses(frame: Buffer, payload: Payload) -> bytes:
    """The source's and the destination's, one after the other: 8 or 32 bytes."""
    at = payload.at
    return bytes(frame[at + 12 : at + 20] if frame[at] >> 4 == 4 else frame[at + 8 : at + 40])


def looks_like_rtp(frame: Buffer, payload: Payload) -> bool:
    """RFC 3550: version 2, a payload type in use (RTCP's are not), and an even port above the system's."""
    protocol, _, source, destination, start, end = payload
    if protocol != UDP or source < 1024 or destination < 1024 or (source & destination & 1):
        return False
    first = frame[start]
    if first >> 6 != 2 or end - start < 12 + 4 * (first & 0x0F):
        return False
    payload_type = frame[start + 1] & 0x7F
    return payload_type <= 34 or payload_type >= 96


def _find_packet(frame: Buffer) -> Packet | None:
    size = len(frame)
    if size < 34:
        return None
    at = 12
    ethertype = _u16(frame, at)[0]
    while ethertype in _VLAN_ETHERTYPES and at < 20:
        at += 4
        ethertype = _u16(frame, at)[0]
    if ethertype == _IPV4:
        return _ipv4(frame, at + 2, size)
    if ethertype == _IPV6:
        return _ipv6(frame, at + 2, size)
    return None


def _ipv4(frame: Buffer, at: int, size: int) -> Packet | None:
    if at + 20 > size or frame[at] >> 4 != 4 or _u16(frame, at + 6)[0] & 0x1FFF:
        return None
    start = at + max(frame[at] & 0x0F, 5) * 4
    return Packet(frame[at + 9], at, start, _end(at, _u16(frame, at + 2)[0], size))


def _ipv6(frame: Buffer, at: int, size: int) -> Packet | None:
    if at + 40 > size or frame[at] >> 4 != 6:
        return None
    protocol, start = frame[at + 6], at + 40
    end = _end(start, _u16(frame, at + 4)[0], size)
    for _ in range(_MOST_IPV6_OPTIONS):
        if protocol not in _IPV6_OPTIONS and protocol != _IPV6_FRAGMENT:
            return Packet(protocol, at, start, end)
        if start + 8 > end or (protocol == _IPV6_FRAGMENT and _u16(frame, start + 2)[0] & 0xFFF8):
            return None
        step = 8 if protocol == _IPV6_FRAGMENT else (frame[start + 1] + 1) * 8
        protocol, start = frame[start], start + step
    return None


def _end(start: int, length: int, size: int) -> int:
    """A length of 0 is a superframe's or a jumbogram's: then the frame's end is the packet's."""
    return min(size, start + length) if length else size
