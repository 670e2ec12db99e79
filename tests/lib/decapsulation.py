"""Where in a tunnel packet the mirrored frame lies, told a second time in plain Python, from the RFCs."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from collector.datapath.settings import Address, SourceType
from tests.lib.datapath import TUNNEL_PORTS

UDP, GRE, IPV4_IN_IP, IPV6_IN_IP, FRAGMENT = 17, 47, 4, 41, 44
_ETHERNET, _IPV4, _IPV6, _UDP, _VXLAN = 14, 20, 40, 8, 8
_AWS = b"\x01\x08"  # class of the first GENEVE option
_DESTINATION_OPTIONS = 60
_TEB, _IP, _IP6, _ERSPAN_II, _ERSPAN_III = 0x6558, 0x0800, 0x86DD, 0x88BE, 0x22EB
_MADE = bytes.fromhex("020000000002 020000000001")  # destination and source of a header that is made up
_MOST_TZSP_TAGS, _MOST_OF_A_TAG = 16, 31
_MOST_HEADERS = 511  # bytes in front of a frame that the program can take off


class RefusedError(Exception):
    """Its text is the drop reason."""


@dataclass(frozen=True)
class Carrier:
    """What an IP packet says of itself; `payload` is all there is behind its headers, `length` what ought
    to be there."""

    protocol: int
    source: Address
    destination: Address
    fragment: bool
    first: bool
    length: int
    payload: bytes
    identity: int = 0  # by which fragments are one packet

    @property
    def port(self) -> int | None:
        """UDP's destination; for GRE whether it carries ERSPAN. None: cut short, PPTP, or no tunnel."""
        if self.protocol == UDP:
            return int.from_bytes(self.payload[2:4], "big") if len(self.payload) >= _UDP else None
        if self.protocol == GRE:
            kind = int.from_bytes(self.payload[2:4], "big")
            if len(self.payload) < 4 or self.payload[1] & 7 == 1:
                return None
            return _ERSPAN_II if kind in {_ERSPAN_II, _ERSPAN_III} else 0
        return 0 if self.protocol in {IPV4_IN_IP, IPV6_IN_IP} else None


def ports_of(kind: SourceType, port: int) -> set[tuple[int, int]]:
    """By which (IP protocol, port) a source of this kind is known."""
    if kind in TUNNEL_PORTS:
        return {(UDP, port)}
    if kind == SourceType.IPIP:
        return {(IPV4_IN_IP, 0), (IPV6_IN_IP, 0)}
    return {(GRE, _ERSPAN_II if kind == SourceType.ERSPAN else 0)}


def read_carrier(packet: bytes) -> Carrier | None:
    read = {b"\x08\x00": read_ipv4, b"\x86\xdd": _read_ipv6}.get(packet[12:14])
    carrier = read(packet[_ETHERNET:]) if read else None
    return carrier if carrier and carrier.length >= 0 else None


def read_ipv4(packet: bytes) -> Carrier | None:
    """RFC 791. A length less than the header's comes out below zero."""
    header = (packet[0] & 15) * 4 if packet else 0
    if len(packet) < max(header, _IPV4) or header < _IPV4 or packet[0] >> 4 != 4:
        return None
    length, identity, fragment, protocol = struct.unpack_from("!2xHHHxB", packet)
    return Carrier(
        protocol=protocol,
        source=IPv4Address(packet[12:16]),
        destination=IPv4Address(packet[16:20]),
        fragment=bool(fragment & 0x3FFF),
        first=not fragment & 0x1FFF,
        length=length - header,
        payload=packet[header:],
        identity=identity,
    )


def _read_ipv6(packet: bytes) -> Carrier | None:
    """RFC 8200, with at most a fragment header, and the option that limits nesting (RFC 2473 section 4.1.1)
    where it is all that its header holds."""
    carrier = read_plain_ipv6(packet)
    if carrier and carrier.protocol == FRAGMENT:
        carrier = _read_fragment(carrier)
    if carrier and carrier.first and carrier.protocol == _DESTINATION_OPTIONS:
        behind = carrier.payload
        if len(behind) < 8 or behind[1]:
            return None
        return replace(carrier, protocol=behind[0], length=carrier.length - 8, payload=behind[8:])
    return carrier


def read_plain_ipv6(packet: bytes) -> Carrier | None:
    if len(packet) < _IPV6 or packet[0] >> 4 != 6:
        return None
    length, protocol = struct.unpack_from("!4xHB", packet)
    ends = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    return Carrier(protocol, *ends, fragment=False, first=True, length=length, payload=packet[_IPV6:])


def _read_fragment(carrier: Carrier) -> Carrier | None:
    behind = carrier.payload
    if len(behind) < 8:
        return None
    return replace(
        carrier,
        protocol=behind[0],
        fragment=True,
        first=not int.from_bytes(behind[2:4], "big") & 0xFFF8,
        identity=int.from_bytes(behind[4:8], "big"),
        payload=behind[8:],
    )


@dataclass
class _Reader:
    """`ends`: where a gateway's inner IP packet and UDP datagram say that they end."""

    packet: bytes
    at: int = 0
    ends: tuple[int, int] | None = None

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.packet):
            raise RefusedError("malformed")
        self.at += size
        return self.packet[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


@dataclass(frozen=True)
class Mirrored:
    frame: bytes
    vni: int
    made: bool  # the frame's Ethernet header, which came not with it
    end: int  # where in the carrier's payload the frame ends


def decapsulate(kind: SourceType, carrier: Carrier, packet: bytes) -> Mirrored:
    """Headers are read as far as there are bytes; then the lengths are held against what there is."""
    reader, length = _Reader(carrier.payload), carrier.length
    if carrier.protocol == UDP:
        length = _at_most(int.from_bytes(reader.take(_UDP)[4:6], "big"), carrier.length)
    _at_most(length, len(carrier.payload))
    vni, bare = _HEADERS[kind](reader)
    _at_most(len(packet) - len(carrier.payload) + reader.at, _MOST_HEADERS)
    if reader.ends:
        _at_most(reader.ends[0], length)
        length = reader.ends[1]
    frame = carrier.payload[reader.at : max(length, reader.at)]
    if length < reader.at + (1 if bare else _ETHERNET):
        raise RefusedError("malformed")
    return Mirrored((made_ethernet(frame) if bare else b"") + frame, vni, bare, length)


def made_ethernet(packet: bytes) -> bytes:
    return _MADE + struct.pack("!H", _IP if packet[0] >> 4 == 4 else _IP6)


# Each reads a tunnel's header: its VNI, and whether what follows is an IP packet without Ethernet.


def _vxlan(reader: _Reader) -> tuple[int, bool]:
    """RFC 7348 section 5."""
    header = reader.take(8)
    if not header[0] & 0x08:
        raise RefusedError("malformed")
    return int.from_bytes(header[4:7], "big"), False


def _geneve(reader: _Reader) -> tuple[int, bool]:
    """RFC 8926 section 3.4."""
    header = reader.take(8)
    if header[0] >> 6:
        raise RefusedError("malformed")
    options = reader.take((header[0] & 0x3F) * 4)
    vni, bare = int.from_bytes(header[4:7], "big"), _payload(reader, int.from_bytes(header[2:4], "big"))
    from_gateway = bare and options[:2] == _AWS
    return (_gateway(reader) if from_gateway else None) or (vni, bare)


def _gateway(reader: _Reader) -> tuple[int, bool] | None:
    """AWS: the mirror's VXLAN packet, without Ethernet, within GENEVE. What it says of its length is true."""
    packet = reader.packet[reader.at :]
    inner = read_ipv4(packet) or read_plain_ipv6(packet)
    if inner is None or inner.fragment or inner.port != TUNNEL_PORTS[SourceType.VXLAN]:
        return None
    within = _Reader(reader.packet, len(reader.packet) - len(inner.payload) + _UDP)
    try:
        found = _vxlan(within)
    except RefusedError:
        return None
    udp_length = int.from_bytes(inner.payload[4:6], "big")
    if not _UDP + _VXLAN <= udp_length <= inner.length:
        raise RefusedError("malformed")
    start = within.at - _UDP - _VXLAN
    reader.at, reader.ends = within.at, (start + inner.length, start + udp_length)
    return found


def _gre(reader: _Reader) -> tuple[int, bool]:
    return 0, _payload(reader, _gre_header(reader)[1])


def _gre_header(reader: _Reader) -> tuple[int, int]:
    """RFC 2784, RFC 2890: flags and the payload's type. Neither routing (RFC 1701) nor PPTP's version 1."""
    flags, kind = reader.number(2), reader.number(2)
    if flags & 0x4007:
        raise RefusedError("malformed")
    reader.take(gre_options(flags))
    return flags, kind


def gre_options(flags: int) -> int:
    """Bytes of checksum, key and sequence number."""
    return 4 * (flags >> 13 & 1) + 4 * (flags >> 12 & 1) + 4 * (flags >> 15)


def _erspan(reader: _Reader) -> tuple[int, bool]:
    """draft-foschiano-erspan-03. Type I is known by the missing sequence number."""
    flags, kind = _gre_header(reader)
    if kind == _ERSPAN_II and not flags & 0x1000:
        return 0, False
    header = reader.take(8)
    if header[0] >> 4 != {_ERSPAN_II: 1, _ERSPAN_III: 2}[kind]:
        raise RefusedError("malformed")
    session = int.from_bytes(header[2:4], "big") & 0x3FF
    return session, _erspan3(reader) if kind == _ERSPAN_III else False


def _erspan3(reader: _Reader) -> bool:
    more = int.from_bytes(reader.take(4)[2:], "big")
    if more & 1:
        reader.take(8)  # the platform's own
    frame_type = more >> 10 & 0x1F
    if frame_type not in {0, 2}:
        raise RefusedError("unsupported")
    return frame_type == 2 and _ip(reader)


def _tzsp(reader: _Reader) -> tuple[int, bool]:
    """Version 1; a received frame or one to transmit; tags of type, length, value; 0 pads and 1 ends."""
    version, kind, inside = reader.number(1), reader.number(1), reader.number(2)
    if version != 1:
        raise RefusedError("malformed")
    if kind > 1 or inside != 1:
        raise RefusedError("unsupported")
    for _ in range(_MOST_TZSP_TAGS):
        tag = reader.number(1)
        if tag == 1:
            return 0, False
        if tag:
            reader.take(_at_most(reader.number(1), _MOST_OF_A_TAG))
    raise RefusedError("malformed")


def _at_most(size: int, limit: int) -> int:
    if size > limit:
        raise RefusedError("malformed")
    return size


def _ipip(reader: _Reader) -> tuple[int, bool]:
    return 0, _ip(reader)


def _payload(reader: _Reader, ethertype: int) -> bool:
    if ethertype == _TEB:
        return False
    if ethertype not in {_IP, _IP6}:
        raise RefusedError("unsupported")
    return _ip(reader)


def _ip(reader: _Reader) -> bool:
    """RFC 2003, RFC 2473: the version in the packet itself says what it is."""
    if reader.packet[reader.at : reader.at + 1] and reader.packet[reader.at] >> 4 in {4, 6}:
        return True
    raise RefusedError("malformed")


_HEADERS = {
    SourceType.VXLAN: _vxlan,
    SourceType.GENEVE: _geneve,
    SourceType.GRE: _gre,
    SourceType.ERSPAN: _erspan,
    SourceType.TZSP: _tzsp,
    SourceType.IPIP: _ipip,
}
