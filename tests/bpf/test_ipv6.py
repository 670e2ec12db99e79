"""A t-meter over IPv6: the outer packet, its checksum, and loops."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from tests.lib.check import assert_dropped, assert_left_to_tc, assert_sent
from tests.lib.checksum import checksum_field, sum_of_udp
from tests.lib.datapath import (
    COLLECTOR6,
    HOOKS,
    OVER_IPV6,
    OVER_IPV6_UNCHECKED,
    TMETER6,
    TMETER_PORT,
    Datapath,
    Hook,
    Site,
)
from tests.lib.outer import source_port
from tests.lib.samples import ANYTHING, LOOPS, NOT_AT_TC, ether, sip, sized, tagged
from tests.lib.tunnels import WRAPPED, carried, vxlan

VNI = 12
CASES = [(hook, name) for hook in HOOKS for name in ANYTHING if hook == "xdp" or name not in NOT_AT_TC]
WAYS: dict[str, dict[str, Any]] = {"checksum": OVER_IPV6, "no checksum": OVER_IPV6_UNCHECKED}


@pytest.fixture(params=WAYS)
def over(request: pytest.FixtureRequest) -> dict[str, Any]:
    return WAYS[request.param]


def spanning(site: Site, over: dict[str, Any], **tmeter: Any) -> Datapath:
    return site.load(site.span(vni=VNI), **over, **tmeter)


@pytest.mark.parametrize(("hook", "name"), CASES)
def test_anything_is_sent_as_it_is(site: Site, over: dict[str, Any], hook: Hook, name: str) -> None:
    assert_sent(spanning(site, over).run(hook, ANYTHING[name]), "pbx", ANYTHING[name], VNI)


@pytest.mark.parametrize("name", WRAPPED)
def test_unwrapped(site: Site, over: dict[str, Any], hook: Hook, name: str) -> None:
    wrapped = WRAPPED[name]
    datapath = site.load(*site.one_of_each(), **over)
    outcome = datapath.run(hook, carried(wrapped.payload, "IPv6"))
    assert_sent(outcome, wrapped.kind.name.lower(), wrapped.frame, wrapped.vni, received=wrapped.received)


# The checksum: RFC 768 and RFC 8200 section 8.1


@pytest.mark.parametrize(
    "size", [42, 43, 44, 45, 214, 430, 431, 432, 433, 434, 447, 448, 449, 880, 881, 1000, 1443, 1444]
)
def test_checksum(site: Site, hook: Hook, size: int) -> None:
    """Around the length of one summing step, 448 bytes, as well."""
    checked = spanning(site, OVER_IPV6).run(hook, sized(size))
    assert sum_of_udp(checked.packet) == 0xFFFF
    assert checksum_field(checked.packet) != 0
    assert_sent(checked, "pbx", sized(size), VNI)
    assert checksum_field(spanning(site, OVER_IPV6_UNCHECKED).run(hook, sized(size)).packet) == 0


def test_a_checksum_of_zero_is_sent_as_ones(site: Site, hook: Hook) -> None:
    """RFC 768: zero would mean that there is none. The last two bytes of the frame bring it about."""
    datapath = spanning(site, OVER_IPV6)
    first = datapath.run(hook, sip() + b"\0\0")
    frame = sip() + checksum_field(first.packet).to_bytes(2, "big")
    assert len(sip()) % 2 == 0
    outcome = datapath.run(hook, frame)
    assert checksum_field(outcome.packet) == 0xFFFF
    assert_sent(outcome, "pbx", frame, VNI)


def test_over_ipv4_there_is_none(site: Site, hook: Hook) -> None:
    assert checksum_field(site.load(site.span()).run(hook, sip()).packet) == 0


def both_ways() -> Iterator[tuple[bytes, bytes]]:
    for way, back in (("10.0.0.11", "10.0.0.12"), ("10.0.0.12", "10.0.0.11")):
        yield sip(src=way, dst=back), sip(tagged(1), src=way, dst=back)


def test_one_port_for_both_directions(site: Site, over: dict[str, Any]) -> None:
    """The same as over IPv4, at both hooks."""
    found = {
        source_port(datapath.run_only(hook, frame)[1])
        for datapath in (spanning(site, over), site.load(site.span()))
        for hook in HOOKS
        for frames in both_ways()
        for frame in frames
    }
    assert len(found) == 1


@pytest.mark.parametrize("vni", [0, 1, 2**24 - 1])
def test_vni_and_port(site: Site, over: dict[str, Any], hook: Hook, vni: int) -> None:
    outcome = site.load(site.span(vni=vni), port=8472, **over).run(hook, sip())
    assert_sent(outcome, "pbx", sip(), vni)


@pytest.mark.parametrize("tags", range(1, 9))
def test_tags_stripped_at_xdp(site: Site, over: dict[str, Any], tags: int) -> None:
    frame = sip(tagged(tags))
    outcome = site.load(site.span(strip_vlan=True), **over).run("xdp", frame)
    assert_sent(outcome, "pbx", sip(), VNI, received=len(frame))


# Loops


def to_tmeter(extensions: Any = None, ethernet: Any = None, **ip: Any) -> bytes:
    network = IPv6(**{"src": COLLECTOR6, "dst": TMETER6} | ip)
    layers = (ether() if ethernet is None else ethernet) / (network / extensions if extensions else network)
    return bytes(layers / UDP(sport=50000, dport=TMETER_PORT) / VXLAN(flags=8, vni=12) / sip())


def piece(offset: int, *, ethernet: Any = None) -> bytes:
    """Of an outer packet, behind its UDP header where `offset` is not 0."""
    whole = bytes(UDP(sport=50000, dport=TMETER_PORT) / VXLAN(flags=8, vni=12) / sip())
    layers = (ether() if ethernet is None else ethernet) / IPv6(src=COLLECTOR6, dst=TMETER6)
    header = IPv6ExtHdrFragment(nh=17, offset=offset, m=offset == 0, id=7)
    return bytes(layers / header / Raw(whole[offset * 8 :]))


LOOPS6: dict[str, bytes] = {
    "outer packet": to_tmeter(),
    "from another collector": to_tmeter(src="2001:db8:1::9"),
    "behind a VLAN tag": to_tmeter(ethernet=tagged(1)),
    "behind three VLAN tags": to_tmeter(ethernet=tagged(3)),
    "behind eight VLAN tags": to_tmeter(ethernet=tagged(8)),
    "behind extension headers": to_tmeter(
        IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=["2001:db8::99"])
    ),
    "first fragment": piece(0),
    "later fragment": piece(4),
    "first fragment behind a VLAN tag": piece(0, ethernet=tagged(1)),
    "later fragment behind a VLAN tag": piece(4, ethernet=tagged(1)),
}
NO_LOOPS6: dict[str, bytes] = {
    "to another address": to_tmeter(dst="2001:db8:1::3"),
    "from the t-meter": to_tmeter(src=TMETER6, dst=COLLECTOR6),
    "another port": bytes(ether() / IPv6(src=COLLECTOR6, dst=TMETER6) / UDP(dport=4790) / b"x"),
    "TCP": bytes(ether() / IPv6(src=COLLECTOR6, dst=TMETER6, nh=6) / Raw(b"\x12\xb5\x12\xb5" + bytes(16))),
    "fragment of something else": bytes(
        ether() / IPv6(src=COLLECTOR6, dst=TMETER6) / IPv6ExtHdrFragment(nh=6, offset=4) / Raw(bytes(40))
    ),
    "a loop to a t-meter over IPv4": LOOPS["outer packet"],
}


@pytest.mark.parametrize("name", LOOPS6)
def test_loop(site: Site, over: dict[str, Any], hook: Hook, name: str) -> None:
    frame = LOOPS6[name]
    assert_dropped(spanning(site, over).run(hook, frame), "pbx", len(frame), "loop")


@pytest.mark.parametrize("name", LOOPS6)
def test_loop_unwrapped(site: Site, hook: Hook, name: str) -> None:
    frame = LOOPS6[name]
    datapath = site.load(site.vxlan(), **OVER_IPV6)
    packet = carried(vxlan(frame))
    assert_dropped(datapath.run(hook, packet), "aws", len(frame), "loop")


@pytest.mark.parametrize("name", NO_LOOPS6)
def test_no_loop(site: Site, hook: Hook, name: str) -> None:
    assert_sent(spanning(site, OVER_IPV6).run(hook, NO_LOOPS6[name]), "pbx", NO_LOOPS6[name], VNI)


@pytest.mark.parametrize("name", LOOPS6)
def test_to_a_tmeter_over_ipv4_it_is_no_loop(site: Site, hook: Hook, name: str) -> None:
    assert_sent(site.load(site.span()).run(hook, LOOPS6[name]), "pbx", LOOPS6[name], VNI)


def test_our_own_output_is_a_loop(site: Site, over: dict[str, Any], hook: Hook) -> None:
    datapath = spanning(site, over)
    packet = datapath.run(hook, sip()).packet
    assert_dropped(datapath.run(hook, packet), "pbx", len(packet), "loop")


def test_no_route(site: Site, over: dict[str, Any]) -> None:
    nowhere = over | {"address": ip_address("2001:db8:ffff::1")}
    datapath = site.load_fresh(site.span(vni=VNI), **nowhere)
    assert_left_to_tc(datapath, sip())
    assert_dropped(datapath.run("tc", sip()), "pbx", len(sip()), "no_route")
