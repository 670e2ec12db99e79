"""What has to become of a packet, told a second time in plain Python: the hostile tests compare."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from collector.datapath.settings import Settings, Source, SourceType, VniRule
from tests.lib.checksum_open import is_open
from tests.lib.datapath import Hook
from tests.lib.decapsulation import (
    FRAGMENT,
    UDP,
    Carrier,
    RefusedError,
    decapsulate,
    ports_of,
    read_carrier,
    read_ipv4,
)
from tests.lib.outer import IP_OVERHEAD

_TAG_TYPES = {0x8100, 0x88A8, 0x9100}
_MAX_TAGS, _MAX_EXTENSIONS = 8, 6
_ETHERNET, _IPV6 = 14, 40
_EXTENSIONS = {0, 43, 60}  # hop-by-hop, routing, destination options


@dataclass(frozen=True)
class Fate:
    """`verdict` and drop `reason` as in Outcome; `frame` as it leaves; `received`: its bytes as it came.
    `partial`: its checksum is not complete, so it goes another way first."""

    verdict: str
    source: Source
    reason: str = ""
    frame: bytes = b""
    vni: int = 0
    received: int = 0
    left_to_tc: bool = False
    partial: bool = False


Fragments = dict[tuple[object, ...], Source]  # packets by what makes fragments one, and who sent them


def fate(
    settings: Settings, ifindex: int, packet: bytes, hook: Hook, fragments: Fragments | None = None
) -> Fate:
    """`fragments`: of which packets the first has come so far. Without it, none has."""
    here = [source for source in settings.sources if source.ifindex == ifindex]
    if here[0].type == SourceType.SPAN:
        return _of_frame(settings, here[0], packet, here[0].vni or 0, hook)
    carrier = read_carrier(packet)
    source = _source(here, carrier) if carrier and carrier.first else None
    if carrier and carrier.fragment:
        source = _of_fragment(ifindex, carrier, source, {} if fragments is None else fragments)
    if carrier is None or source is None:
        return Fate("pass", here[0])
    if carrier.fragment:
        return Fate("drop", source, "outer_fragment", received=len(packet))
    return _of_tunnel(settings, source, carrier, packet, hook)


def _of_fragment(
    ifindex: int, carrier: Carrier, source: Source | None, fragments: Fragments
) -> Source | None:
    """Whose it is. Over IPv6 the protocol is no part of the key (RFC 8200 section 4.5)."""
    protocol = carrier.protocol if carrier.source.version == 4 else 0
    key = (ifindex, carrier.source, carrier.destination, carrier.identity, protocol)
    if not carrier.first:
        return fragments.get(key)
    fragments.pop(key, None)
    if source:
        fragments[key] = source
    return source


def _source(here: list[Source], carrier: Carrier) -> Source | None:
    """The longest prefix decides."""
    matches = [
        (network.prefixlen, source)
        for source in here
        if (carrier.protocol, carrier.port) in ports_of(source.type, source.port)
        for network in source.senders
        if network.version == carrier.source.version and carrier.source in network
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else None


def _of_tunnel(settings: Settings, source: Source, carrier: Carrier, packet: bytes, hook: Hook) -> Fate:
    try:
        mirrored = decapsulate(source.type, carrier, packet)
    except RefusedError as reason:
        return Fate("drop", source, str(reason), received=len(packet))
    frame, made = mirrored.frame, _ETHERNET if mirrored.made else 0
    vni = _vni(source, mirrored.vni)
    if vni is None:
        return Fate("drop", source, "unknown_vni", received=len(frame) - made)
    if hook == "xdp" and mirrored.end < len(carrier.payload):
        return Fate("pass", source, left_to_tc=True)
    return _of_frame(settings, source, frame, vni, hook, made=made)


def _vni(source: Source, vni: int) -> int | None:
    if source.vni_rule == VniRule.KEEP:
        return vni
    if source.vni_rule == VniRule.FIXED:
        return source.vni
    return dict(source.vni_map).get(vni, source.vni)


def _of_frame(
    settings: Settings, source: Source, frame: bytes, vni: int, hook: Hook, *, made: int = 0
) -> Fate:
    """`made`: bytes of the frame that did not come with it."""
    tags, ethertype, rest = _behind_tags(frame)
    received = len(frame) - made
    if ethertype in _TAG_TYPES and tags == _MAX_TAGS:
        return Fate("drop", source, "malformed", received=received)
    datagram = _datagram(ethertype, rest)
    partial = datagram is not None and not datagram.fragment and is_open(datagram)
    if datagram and _is_loop(settings, datagram):
        return Fate("drop", source, "loop", received=received, partial=partial)
    leaves = _without_tags(source, frame, tags)
    tmeter = settings.tmeter
    if len(leaves) + IP_OVERHEAD[tmeter.address.version] <= tmeter.path_mtu:
        return Fate("sent", source, frame=leaves, vni=vni, received=received, partial=partial)
    if hook == "xdp":
        return Fate("pass", source, left_to_tc=True, partial=partial)
    return Fate("drop", source, "oversize", received=received, partial=partial)


def _without_tags(source: Source, frame: bytes, tags: int) -> bytes:
    outermost = int.from_bytes(frame[14:16], "big") & 0xFFF if tags else 0
    if source.strip_vlan:
        return frame[:12] + frame[12 + 4 * tags :]
    if source.rspan_vlan and outermost == source.rspan_vlan:
        return frame[:12] + frame[16:]
    return frame


def _behind_tags(frame: bytes) -> tuple[int, int, bytes]:
    tags, at = 0, 12
    while (
        tags < _MAX_TAGS and int.from_bytes(frame[at : at + 2], "big") in _TAG_TYPES and len(frame) >= at + 6
    ):
        tags, at = tags + 1, at + 4
    return tags, int.from_bytes(frame[at : at + 2], "big"), frame[at + 2 :]


def _datagram(ethertype: int, packet: bytes) -> Carrier | None:
    """The innermost protocol that can be reached in an IP packet."""
    return {0x0800: read_ipv4, 0x86DD: _behind_extensions}.get(ethertype, lambda _: None)(packet)


def _behind_extensions(packet: bytes) -> Carrier | None:
    """RFC 8200 section 4. Of a chain that cannot be followed to its end nothing is known."""
    if len(packet) < _IPV6:
        return None
    length, protocol = struct.unpack_from("!4xHB", packet)
    ends = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    at = _IPV6
    for _ in range(_MAX_EXTENSIONS):
        if protocol not in _EXTENSIONS:
            break
        size = 8 * packet[at + 1] + 8 if len(packet) >= at + 2 else len(packet)
        if at + size > len(packet):
            return None
        protocol, at, length = packet[at], at + size, length - size
    if protocol != FRAGMENT:
        return Carrier(protocol, *ends, False, True, length, packet[at:])
    if len(packet) < at + 8:
        return None
    first = not int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF8
    return Carrier(packet[at], *ends, True, first, length - 8, packet[at + 8 :])


def _is_loop(settings: Settings, datagram: Carrier) -> bool:
    if datagram.protocol != UDP or datagram.destination != settings.tmeter.address:
        return False
    return not datagram.first or _udp_port(datagram) == settings.tmeter.port


def _udp_port(datagram: Carrier) -> int | None:
    """Where a whole packet is cut within its UDP header, the ports are enough."""
    least = 8 if datagram.fragment else 4
    return int.from_bytes(datagram.payload[2:4], "big") if len(datagram.payload) >= least else None
