"""The outer source port: one for both directions of a flow, at both hooks, and well spread over flows."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP
from scapy.layers.sctp import SCTP
from scapy.packet import Raw

from tests.lib.datapath import HOOKS, Datapath, Hook, Site
from tests.lib.outer import source_port
from tests.lib.samples import PBX_MAC, PHONE_MAC, ether, mirrored, tagged

PHONE, PBX = "10.0.0.11", "198.51.100.1"
PHONE6, PBX6 = "2001:db8:1::11", "2001:db8:2::1"
RTP_PORTS = struct.pack("!HH", 11780, 9000)
FIRST_PORT, PORTS = 49152, 16384
Build = Callable[[bool], Any]  # a frame of one flow; True: the way back


@pytest.fixture(scope="module")
def span(site: Site) -> Datapath:
    return site.load(site.span())


def port_of(datapath: Datapath, hook: Hook, frame: bytes) -> int:
    verdict, packet, _ = datapath.run_only(hook, frame)
    assert verdict == "sent"
    return source_port(packet)


def macs(*, back: bool, ethernet: Any = None) -> Any:
    layers = ether() if ethernet is None else ethernet
    if back:
        layers.src, layers.dst = PBX_MAC, PHONE_MAC
    return layers


def ends(first: Any, second: Any, *, back: bool) -> tuple[Any, Any]:
    return (second, first) if back else (first, second)


def ip(back: bool, ethernet: Any = None, **fields: Any) -> Any:
    source, destination = ends(PHONE, PBX, back=back)
    return macs(back=back, ethernet=ethernet) / IP(src=source, dst=destination, **fields)


def ip6(back: bool, ethernet: Any = None, **fields: Any) -> Any:
    source, destination = ends(PHONE6, PBX6, back=back)
    return macs(back=back, ethernet=ethernet) / IPv6(src=source, dst=destination, **fields)


def ports(layer: type[Any], back: bool, first: int = 11780, second: int = 9000) -> Any:
    source, destination = ends(first, second, back=back)
    return layer(sport=source, dport=destination)


def extensions() -> Any:
    return IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=["2001:db8::9"])


FLOWS: dict[str, Build] = {
    "IPv4 UDP": lambda back: ip(back) / ports(UDP, back),
    "IPv4 TCP": lambda back: ip(back) / ports(TCP, back, 40000, 5061),
    "IPv4 SCTP": lambda back: ip(back) / ports(SCTP, back, 2905, 2906),
    "IPv4 UDP, same port at both ends": lambda back: ip(back) / ports(UDP, back, 5060, 5060),
    "IPv4 UDP, IP options": lambda back: ip(back, options="\x01" * 12) / ports(UDP, back),
    "IPv4 UDP, longest IP options": lambda back: ip(back, options="\x01" * 40) / ports(UDP, back),
    "IPv4 ICMP": lambda back: ip(back) / ICMP(type=0 if back else 8),
    "IPv4 fragments": lambda back: ip(back, frag=100, proto=17) / Raw(bytes(40)),
    "IPv6 UDP": lambda back: ip6(back) / ports(UDP, back),
    "IPv6 TCP": lambda back: ip6(back) / ports(TCP, back, 40000, 5061),
    "IPv6 SCTP": lambda back: ip6(back) / ports(SCTP, back, 2905, 2906),
    "IPv6 extension headers": lambda back: ip6(back) / extensions() / ports(UDP, back),
    "IPv6 fragments": lambda back: ip6(back) / IPv6ExtHdrFragment(offset=9) / Raw(bytes(40)),
    "802.1Q": lambda back: ip(back, tagged(1)) / ports(UDP, back),
    "QinQ": lambda back: ip(back, tagged(2)) / ports(UDP, back),
    "eight tags": lambda back: ip(back, tagged(8)) / ports(UDP, back),
    "802.1Q, IPv6": lambda back: ip6(back, tagged(1)) / ports(TCP, back),
    "ARP": lambda back: macs(back=back) / ARP(op=2 if back else 1),
    "unknown ethertype": lambda back: macs(back=back, ethernet=ether(type=0x88B5)) / Raw(bytes(40)),
}


@pytest.mark.parametrize("flow", FLOWS)
def test_one_port_for_both_directions_at_both_hooks(span: Datapath, flow: str) -> None:
    found = {port_of(span, hook, bytes(FLOWS[flow](back))) for hook, back in product(HOOKS, (False, True))}
    assert len(found) == 1
    assert found <= set(range(FIRST_PORT, FIRST_PORT + PORTS))


def test_one_port_inside_a_mirrors_vxlan_too(site: Site, span: Datapath, hook: Hook) -> None:
    """A flow keeps its port whichever way it comes, and whatever the mirror's own headers are."""
    frame, vxlan = bytes(FLOWS["IPv4 UDP"](False)), site.load(site.vxlan())
    packets = (mirrored(frame), mirrored(frame, udp_sport=7), mirrored(frame, ip_options="\x01" * 40))
    assert {port_of(vxlan, hook, packet) for packet in packets} == {port_of(span, hook, frame)}


@pytest.mark.parametrize("make", [ip, ip6], ids=["IPv4", "IPv6"])
def test_fragments_by_addresses_alone(span: Datapath, hook: Hook, make: Callable[..., Any]) -> None:
    """The first one has ports, the others have none: one port for all, and for both directions."""

    def fragment(back: bool, offset: int, *, more: bool) -> bytes:
        payload = ports(UDP, back) if offset == 0 else Raw(bytes(32))
        if make is ip6:
            return bytes(ip6(back) / IPv6ExtHdrFragment(nh=17, offset=offset, m=more, id=7) / payload)
        return bytes(ip(back, proto=17, id=7, frag=offset, flags="MF" if more else 0) / payload)

    pieces = [(0, True), (1, True), (185, True), (370, False)]
    frames = [fragment(back, offset, more=more) for back in (False, True) for offset, more in pieces]
    assert len({port_of(span, hook, frame) for frame in frames}) == 1


@pytest.mark.parametrize("flow", ["IPv4 UDP", "IPv6 UDP", "IPv4 TCP"])
def test_the_payload_and_the_tags_change_nothing(span: Datapath, hook: Hook, flow: str) -> None:
    plain = bytes(FLOWS[flow](False))
    tag = plain[:12] + struct.pack("!HH", 0x8100, 0x6005) + plain[12:]
    frames = (plain, plain + b"payload", plain + bytes(1000), tag)
    assert len({port_of(span, hook, frame) for frame in frames}) == 1


PORTS_DECIDE = [name for name, build in FLOWS.items() if RTP_PORTS in bytes(build(False))]


@pytest.mark.parametrize("flow", PORTS_DECIDE)
def test_another_port_is_another_flow(span: Datapath, hook: Hook, flow: str) -> None:
    """Behind options, extension headers and tags too the ports are found."""
    frame = bytes(FLOWS[flow](False))
    other = frame.replace(RTP_PORTS, struct.pack("!HH", 11782, 9000))
    assert port_of(span, hook, frame) != port_of(span, hook, other)


# 10,000 flows that an office has


def template(frame: Any) -> bytes:
    return bytes(frame / Raw(bytes(172)))


Key = tuple[int, int, int, int]  # the last 16 bits of both addresses, both ports


def flows_of(frame: bytes, addresses_at: tuple[int, int], ports_at: int, keys: Iterable[Key]) -> list[bytes]:
    made = []
    for source, destination, source_port_, destination_port in keys:
        copy = bytearray(frame)
        struct.pack_into("!H", copy, addresses_at[0], source)
        struct.pack_into("!H", copy, addresses_at[1], destination)
        struct.pack_into("!HH", copy, ports_at, source_port_, destination_port)
        made.append(bytes(copy))
    return made


UDP4, UDP6 = template(ip(False) / ports(UDP, False)), template(ip6(False) / ports(UDP, False))
AT4: tuple[tuple[int, int], int] = ((28, 32), 34)
AT6: tuple[tuple[int, int], int] = ((36, 52), 54)
TEN_THOUSAND = range(10_000)
SERVER = 1  # the PBX's address
OFFICES: dict[str, list[bytes]] = {
    "a trunk: RTP between two addresses": flows_of(
        UDP4, *AT4, ((11, SERVER, 11780 + n // 1000 * 2, 9000 + n % 1000 * 2) for n in TEN_THOUSAND)
    ),
    "RTP and RTCP of many phones": flows_of(
        UDP4, *AT4, ((10 + n // 40, SERVER, 11780 + n % 40, 9000 + n % 2000) for n in TEN_THOUSAND)
    ),
    "SIP of many phones, 5060 at both ends": flows_of(
        UDP4, *AT4, ((n, SERVER, 5060, 5060) for n in TEN_THOUSAND)
    ),
    "TLS from many ports": flows_of(UDP4, *AT4, ((11, SERVER, 30000 + n, 5061) for n in TEN_THOUSAND)),
    "phones among themselves": flows_of(
        UDP4, *AT4, ((10 + n % 100, 300 + n // 100, 11780, 11780) for n in TEN_THOUSAND)
    ),
    "IPv6 RTP of many phones": flows_of(
        UDP6, *AT6, ((10 + n // 40, SERVER, 11780 + n % 40, 9000 + n % 2000) for n in TEN_THOUSAND)
    ),
    "IPv6 SIP of many phones": flows_of(UDP6, *AT6, ((n, SERVER, 5060, 5060) for n in TEN_THOUSAND)),
}


def chi_square(values: Sequence[int], bins: int) -> float:
    counts, expected = Counter(values), len(values) / bins
    return sum((counts[number] - expected) ** 2 / expected for number in range(bins))


@pytest.mark.parametrize("office", OFFICES)
def test_spread(span: Datapath, office: str) -> None:
    """As by chance: 10,000 flows on 16,384 ports meet 7,485 of them, with a deviation of 33; and over 64 bins
    chi-square is 63, with a deviation of 11. Six deviations are allowed."""
    frames = OFFICES[office]
    with span.machine.enter():
        found = [port_of(span, "xdp", frame) - FIRST_PORT for frame in frames]
        assert found[::97] == [port_of(span, "tc", frame) - FIRST_PORT for frame in frames[::97]]
    assert 0 <= min(found) <= max(found) < PORTS
    assert len(set(found)) > 7485 - 6 * 33
    assert chi_square([port % 64 for port in found], 64) < 63 + 6 * 11
    assert chi_square([port * 64 // PORTS for port in found], 64) < 63 + 6 * 11
