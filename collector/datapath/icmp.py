"""ICMP (RFC 792) and ICMPv6 (RFC 4443): pings, and the errors that outer packets meet on their way.

What comes in may be forged, cut short or lie about its lengths; what cannot be ours is no more than None.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import ip_address

from collector.datapath.settings import Address
from collector.datapath.vxlan import IPV4_HEADER, IPV6_HEADER, UDP_HEADER
from collector.errors import HostError

_ICMP_HEADER = 8
_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER = 255, 1, 1  # linux/icmp.h, linux/icmpv6.h
_IPV6_FRAGMENT, _IPV6_FRAGMENT_HEADER = 44, 8
_FRAGMENT_OFFSET = 0x1FFF  # IPv4: in units of 8 bytes, the flags left out
_IPV6_FRAGMENT_OFFSET = 0xFFF8
_MOST_MTU = 65535
_LEAST_MTU = {4: 68, 6: 1280}  # RFC 791, RFC 8200 section 5
_RECEIVE_BUFFER = 32768  # bytes: a flood of errors is not worth more of the kernel's memory

_ECHO = {4: (8, 0), 6: (128, 129)}  # request, reply
_ERRORS = {4: (3, 11), 6: (1, 2, 3)}

PORT_UNREACHABLE = "port_unreachable"
HOST_UNREACHABLE = "host_unreachable"
NETWORK_UNREACHABLE = "network_unreachable"
PROHIBITED = "prohibited"
FRAGMENTATION_NEEDED = "fragmentation_needed"
TIME_EXCEEDED = "time_exceeded"
FRAGMENTS_LOST = "fragments_lost"
KINDS = (
    PORT_UNREACHABLE, HOST_UNREACHABLE, NETWORK_UNREACHABLE, PROHIBITED, FRAGMENTATION_NEEDED, TIME_EXCEEDED,
    FRAGMENTS_LOST,
)  # fmt: skip

# Types and codes, from the registry of ICMP parameters. What is not here says nothing about the path.
_MEANING = {
    4: {
        **{(3, code): NETWORK_UNREACHABLE for code in (0, 5, 6, 11)},
        **{(3, code): HOST_UNREACHABLE for code in (1, 7, 8, 12)},
        **{(3, code): PORT_UNREACHABLE for code in (2, 3)},  # 2: it has no UDP at all
        **{(3, code): PROHIBITED for code in (9, 10, 13, 14, 15)},
        (3, 4): FRAGMENTATION_NEEDED,
        (11, 0): TIME_EXCEEDED,
        (11, 1): FRAGMENTS_LOST,
    },
    6: {
        **{(1, code): NETWORK_UNREACHABLE for code in (0, 2, 7)},
        **{(1, code): PROHIBITED for code in (1, 5, 6)},
        (1, 3): HOST_UNREACHABLE,
        (1, 4): PORT_UNREACHABLE,
        (2, 0): FRAGMENTATION_NEEDED,
        (3, 0): TIME_EXCEEDED,
        (3, 1): FRAGMENTS_LOST,
    },
}


@dataclass(frozen=True)
class Datagram:
    """The UDP datagram that an error quotes, as it was sent."""

    source: Address
    destination: Address
    source_port: int
    port: int


@dataclass(frozen=True)
class Error:
    kind: str  # one of KINDS
    reporter: Address
    datagram: Datagram
    mtu: int | None = None  # bytes, IP header included, where it was told and can be


def parse_error(version: int, packet: bytes, reporter: Address) -> Error | None:
    """`packet` as a raw socket gives it: over IPv4 with the IP header, over IPv6 without. None: no error,
    or none that quotes a UDP datagram."""
    icmp = _behind_ipv4(packet) if version == 4 else packet
    if icmp is None or len(icmp) < _ICMP_HEADER:
        return None
    if version == 4 and internet_checksum(icmp) != 0:  # over IPv6 the kernel has looked
        return None
    kind = _MEANING[version].get((icmp[0], icmp[1]))
    quoted = icmp[_ICMP_HEADER:]
    datagram = _quoted_ipv4(quoted) if version == 4 else _quoted_ipv6(quoted)
    if kind is None or datagram is None:
        return None
    mtu = _mtu(version, icmp) if kind == FRAGMENTATION_NEEDED else None
    return Error(kind, reporter, datagram, mtu)


def _behind_ipv4(packet: bytes) -> bytes | None:
    header = (packet[0] & 0x0F) * 4 if packet else 0
    return packet[header:] if IPV4_HEADER <= header <= len(packet) else None


def _mtu(version: int, icmp: bytes) -> int | None:
    """RFC 1191 section 4 and RFC 4443 section 3.2; old routers leave it out over IPv4."""
    told = int.from_bytes(icmp[6:8] if version == 4 else icmp[4:8])
    return told if _LEAST_MTU[version] <= told <= _MOST_MTU else None


def _quoted_ipv4(quoted: bytes) -> Datagram | None:
    udp = _behind_ipv4(quoted)
    if udp is None or quoted[0] >> 4 != 4 or quoted[9] != socket.IPPROTO_UDP:
        return None
    if struct.unpack_from("!H", quoted, 6)[0] & _FRAGMENT_OFFSET:
        return None
    return _datagram(quoted[12:16], quoted[16:20], udp)


def _quoted_ipv6(quoted: bytes) -> Datagram | None:
    if len(quoted) < IPV6_HEADER or quoted[0] >> 4 != 6:
        return None
    protocol, at = quoted[6], IPV6_HEADER
    if protocol == _IPV6_FRAGMENT:
        fragment = quoted[at : at + _IPV6_FRAGMENT_HEADER]
        at += _IPV6_FRAGMENT_HEADER
        if len(fragment) < _IPV6_FRAGMENT_HEADER or int.from_bytes(fragment[2:4]) & _IPV6_FRAGMENT_OFFSET:
            return None
        protocol = fragment[0]
    if protocol != socket.IPPROTO_UDP:
        return None
    return _datagram(quoted[8:24], quoted[24:40], quoted[at:])


def _datagram(source: bytes, destination: bytes, udp: bytes) -> Datagram | None:
    if len(udp) < UDP_HEADER:
        return None
    source_port, port = struct.unpack_from("!HH", udp)
    return Datagram(ip_address(source), ip_address(destination), source_port, port)


def internet_checksum(data: bytes) -> int:
    """RFC 1071; 0 over data that carries its own right checksum."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~((total >> 16) + total) & 0xFFFF


def echo_request(version: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    kind = _ECHO[version][0]
    body = struct.pack("!HH", identifier, sequence) + payload
    # Over IPv6 the kernel writes the checksum: it knows the addresses that belong in it.
    checksum = internet_checksum(bytes([kind, 0, 0, 0]) + body) if version == 4 else 0
    return struct.pack("!BBH", kind, 0, checksum) + body


def answers(version: int, packet: bytes, request: bytes) -> bool:
    """Whether `packet`, as a raw socket gives it, is the reply to this request and to no other."""
    icmp = _behind_ipv4(packet) if version == 4 else packet
    if icmp is None or icmp[:2] != bytes([_ECHO[version][1], 0]) or icmp[4:] != request[4:]:
        return False
    return version == 6 or internet_checksum(icmp) == 0


def open_echo(address: Address) -> socket.socket:
    """Takes echo replies from this address alone. Raises OSError where there is no way to it."""
    raw = _raw(address.version, (_ECHO[address.version][1],))
    try:
        raw.connect((str(address), 0))
    except OSError:
        raw.close()
        raise
    return raw


def open_errors(version: int) -> socket.socket:
    """Takes ICMP errors from anyone, and nothing else: pings of others do not wake its reader."""
    return _raw(version, _ERRORS[version])


def _raw(version: int, types: tuple[int, ...]) -> socket.socket:
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    try:
        raw = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    except PermissionError:
        raise HostError(
            "This process may not open an ICMP socket: it lacks CAP_NET_RAW",
            "Run it as root, or with AmbientCapabilities=CAP_NET_RAW in its unit.",
        ) from None
    if version == 4:
        blocked = 0xFFFFFFFF & ~sum(1 << kind for kind in types)
        raw.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("@I", blocked))
    else:
        everything = (1 << 256) - 1
        words = (everything & ~sum(1 << kind for kind in types)).to_bytes(32, "little")
        raw.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("@8I", *struct.unpack("<8I", words)))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return raw


def receive(raw: socket.socket) -> tuple[bytes, Address] | None:
    """One packet and who sent it; None when there is none."""
    try:
        packet, (host, *_) = raw.recvfrom(_MOST_MTU)
    except BlockingIOError:
        return None
    return packet, ip_address(str(host).partition("%")[0])


def nonce() -> tuple[int, int, bytes]:
    """An identifier, a sequence number and a payload that nobody who does not see them can guess."""
    identifier, sequence = struct.unpack("!HH", os.urandom(4))
    return identifier, sequence, os.urandom(16)
