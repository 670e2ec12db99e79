"""What has to become of a packet, told a second time in plain Python: the hostile tests compare."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from collector.datapath.program import Settings, Source, SourceType, VniRule
from tests.lib.datapath import Hook
from tests.lib.outer import IP_OVERHEAD

_TAG_TYPES = {0x8100, 0x88A8, 0x9100}
_MAX_TAGS = 8
_ETHERNET, _IPV4, _UDP, _VXLAN = 14, 20, 8, 8
_UDP_PROTOCOL = 17


@dataclass(frozen=True)
class Fate:
    """`verdict` and drop `reason` as in Outcome; `frame` as it leaves; `received`: its bytes as it came."""

    verdict: str
    source: Source
    reason: str = ""
    frame: bytes = b""
    vni: int = 0
    received: int = 0
    left_to_tc: bool = False


@dataclass(frozen=True)
class _Ip:
    protocol: int
    source: IPv4Address
    destination: IPv4Address
    length: int
    offset: int
    more: bool
    header: int  # bytes
    payload: bytes


def fate(settings: Settings, ifindex: int, packet: bytes, hook: Hook) -> Fate:
    here = [source for source in settings.sources if source.ifindex == ifindex]
    if here[0].type == SourceType.SPAN:
        return _of_frame(settings, here[0], packet, here[0].vni or 0, hook)
    ip = _ipv4(packet[_ETHERNET:]) if packet[12:14] == b"\x08\x00" else None
    if ip is None or ip.protocol != _UDP_PROTOCOL or ip.offset or len(ip.payload) < _UDP:
        return Fate("pass", here[0])
    source = _source(here, ip.source, struct.unpack_from("!H", ip.payload, 2)[0])
    if source is None:
        return Fate("pass", here[0])
    if ip.more:
        return Fate("drop", source, "outer_fragment", received=len(packet))
    return _of_tunnel(settings, source, packet, ip, hook)


def _source(here: list[Source], sender: IPv4Address, port: int) -> Source | None:
    """The longest prefix decides."""
    matches = [
        (network.prefixlen, source)
        for source in here
        if source.port == port
        for network in source.senders
        if sender in network
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else None


def _of_tunnel(settings: Settings, source: Source, packet: bytes, ip: _Ip, hook: Hook) -> Fate:
    udp_length: int = struct.unpack_from("!H", ip.payload, 4)[0]
    datagram = ip.payload[_UDP:udp_length]
    if (
        len(ip.payload) < max(udp_length, _UDP + _VXLAN)
        or udp_length < _UDP + _VXLAN + _ETHERNET
        or ip.length < ip.header + udp_length
        or not datagram[0] & 0x08
    ):
        return Fate("drop", source, "malformed", received=len(packet))
    frame = datagram[_VXLAN:]
    vni = _vni(source, int.from_bytes(datagram[4:7], "big"))
    if vni is None:
        return Fate("drop", source, "unknown_vni", received=len(frame))
    if hook == "xdp" and len(ip.payload) > udp_length:
        return Fate("pass", source, left_to_tc=True)
    return _of_frame(settings, source, frame, vni, hook)


def _vni(source: Source, vni: int) -> int | None:
    if source.vni_rule == VniRule.KEEP:
        return vni
    return dict(source.vni_map).get(vni, source.vni)


def _of_frame(settings: Settings, source: Source, frame: bytes, vni: int, hook: Hook) -> Fate:
    tags, ethertype, rest = _behind_tags(frame)
    if ethertype == 0x0800 and _is_loop(settings, rest):
        return Fate("drop", source, "loop", received=len(frame))
    leaves = frame[:12] + frame[12 + 4 * tags :] if source.strip_vlan else frame
    if len(leaves) + IP_OVERHEAD <= settings.tmeter.path_mtu:
        return Fate("sent", source, frame=leaves, vni=vni, received=len(frame))
    if hook == "xdp":
        return Fate("pass", source, left_to_tc=True)
    return Fate("drop", source, "oversize", received=len(frame))


def _behind_tags(frame: bytes) -> tuple[int, int, bytes]:
    tags, at = 0, 12
    while (
        tags < _MAX_TAGS and int.from_bytes(frame[at : at + 2], "big") in _TAG_TYPES and len(frame) >= at + 6
    ):
        tags, at = tags + 1, at + 4
    return tags, int.from_bytes(frame[at : at + 2], "big"), frame[at + 2 :]


def _is_loop(settings: Settings, packet: bytes) -> bool:
    ip = _ipv4(packet)
    if ip is None or ip.protocol != _UDP_PROTOCOL or ip.destination != settings.tmeter.address:
        return False
    if ip.offset:
        return True
    return len(ip.payload) >= _UDP and struct.unpack_from("!H", ip.payload, 2)[0] == settings.tmeter.port


def _ipv4(packet: bytes) -> _Ip | None:
    if len(packet) < _IPV4 or packet[0] >> 4 != 4:
        return None
    header = (packet[0] & 15) * 4
    if header < _IPV4 or len(packet) < header:
        return None
    length, fragment, protocol = struct.unpack_from("!2xH2xHxB", packet)
    source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    offset, more = fragment & 0x1FFF, bool(fragment & 0x2000)
    return _Ip(protocol, source, destination, length, offset, more, header, packet[header:])
