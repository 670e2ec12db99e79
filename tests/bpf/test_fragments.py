"""A mirror's packets in IP fragments: dropped and counted one by one, as far as the first has come before."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet6 import IPv6ExtHdrFragment

from collector.datapath import maps
from collector.datapath.settings import SourceType
from tests.lib.check import assert_dropped, assert_passed, assert_sent
from tests.lib.datapath import HOOKS, Datapath, Hook, Site
from tests.lib.reference import Fragments, fate
from tests.lib.samples import sip, sized
from tests.lib.tunnels import (
    CARRIERS,
    NESTING_LIMIT,
    TEB,
    VNI,
    Payload,
    carried,
    erspan2,
    from_gateway,
    gateway,
    geneve,
    gre,
    in_udp,
    ipip,
    tzsp,
    vxlan,
)

FRAME = sized(214)
TUNNELS: dict[str, tuple[SourceType, Payload]] = {
    "VXLAN": (SourceType.VXLAN, vxlan(FRAME)),
    "GENEVE": (SourceType.GENEVE, geneve(FRAME, TEB)),
    "gateway": (SourceType.GENEVE, from_gateway(gateway(FRAME))),
    "GRE": (SourceType.GRE, gre(FRAME, TEB, key_present=1)),
    "ERSPAN II": (SourceType.ERSPAN, erspan2(FRAME)),
    "TZSP": (SourceType.TZSP, tzsp(FRAME)),
    "IPIP": (SourceType.IPIP, ipip(FRAME[14:])),
}
SIZE = 96  # bytes of each fragment but the last


def fragments(payload: Payload, *, ipv6: bool, identity: int = 3, **ip: Any) -> list[bytes]:
    protocol, content = payload
    pieces = [content[at : at + SIZE] for at in range(0, len(content), SIZE)]
    made = []
    for number, piece in enumerate(pieces):
        more, offset = number + 1 < len(pieces), number * SIZE // 8
        if ipv6:
            header = IPv6ExtHdrFragment(nh=protocol, offset=offset, m=more, id=identity)
            made.append(carried((44, bytes(header) + piece), "IPv6", **ip))
        else:
            flags = "MF" if more else 0
            made.append(carried((protocol, piece), frag=offset, flags=flags, id=identity, **ip))
    return made


@pytest.fixture(params=[False, True], ids=["IPv4", "IPv6"])
def ipv6(request: pytest.FixtureRequest) -> bool:
    over_ipv6: bool = request.param
    return over_ipv6


def loaded(site: Site, kind: SourceType = SourceType.VXLAN) -> Datapath:
    return site.load_fresh(site.tunnel(kind, "mirror"))


def assert_all_dropped(datapath: Datapath, hook: Hook, packets: list[bytes], nic: int | None = None) -> None:
    for packet in packets:
        assert_dropped(datapath.run(hook, packet, nic), "mirror", len(packet), "outer_fragment")


@pytest.mark.parametrize("name", TUNNELS)
def test_each_is_dropped_and_counted(site: Site, hook: Hook, name: str, *, ipv6: bool) -> None:
    kind, payload = TUNNELS[name]
    datapath = loaded(site, kind)
    packets = fragments(payload, ipv6=ipv6)
    assert len(packets) > 2
    assert_all_dropped(datapath, hook, packets)
    assert_all_dropped(datapath, hook, packets[::-1])


def test_both_hooks_know_the_same(site: Site, *, ipv6: bool) -> None:
    """As where the driver's XDP lets some packets go up."""
    first, *later = fragments(vxlan(FRAME), ipv6=ipv6)
    for hook in HOOKS:
        datapath = loaded(site)
        assert_all_dropped(datapath, hook, [first])
        for other in HOOKS:
            assert_all_dropped(datapath, other, later)


def test_behind_a_nesting_limit(site: Site, hook: Hook) -> None:
    """What is behind the fragment header of a later one is no header, though the field says so."""
    payload = (60, b"\x11" + NESTING_LIMIT + vxlan(FRAME)[1])
    assert_all_dropped(loaded(site), hook, fragments(payload, ipv6=True))


def test_later_ones_that_come_first_are_the_hosts(site: Site, hook: Hook, *, ipv6: bool) -> None:
    """Nothing is known of them."""
    datapath = loaded(site)
    first, *later = fragments(vxlan(FRAME), ipv6=ipv6)
    for packet in later:
        assert_passed(datapath.run(hook, packet), hook, packet, "mirror")
    assert_all_dropped(datapath, hook, [first])


OTHERS: dict[bool, list[dict[str, Any]]] = {  # by whether it is IPv6
    False: [{"identity": 4}, {"src": "198.51.100.8"}, {"dst": "192.0.2.77"}],
    True: [{"identity": 4}, {"src": "2001:db8:7::8"}, {"dst": "2001:db8:1::77"}],
}


@pytest.mark.parametrize("number", range(3), ids=["identity", "source", "destination"])
def test_those_of_another_packet_are_the_hosts(site: Site, hook: Hook, number: int, *, ipv6: bool) -> None:
    datapath = loaded(site)
    assert_all_dropped(datapath, hook, fragments(vxlan(FRAME), ipv6=ipv6)[:1])
    for packet in fragments(vxlan(FRAME), ipv6=ipv6, **OTHERS[ipv6][number])[1:]:
        assert_passed(datapath.run(hook, packet), hook, packet, "mirror")


def test_of_another_protocol_they_are_another_packets(site: Site, hook: Hook) -> None:
    """IPv4's alone: over IPv6 the identity is enough (RFC 8200 section 4.5)."""
    datapath = loaded(site)
    assert_all_dropped(datapath, hook, fragments(vxlan(FRAME), ipv6=False)[:1])
    for packet in fragments(gre(FRAME, TEB), ipv6=False)[1:]:
        assert_passed(datapath.run(hook, packet), hook, packet, "mirror")


def test_an_identity_that_the_host_gets_next_is_the_hosts(site: Site, hook: Hook, *, ipv6: bool) -> None:
    datapath = loaded(site)
    assert_all_dropped(datapath, hook, fragments(vxlan(FRAME), ipv6=ipv6))
    for packet in fragments(in_udp(53, FRAME), ipv6=ipv6):
        assert_passed(datapath.run(hook, packet), hook, packet, "mirror")


def test_at_another_nic_they_are_the_hosts(site: Site, hook: Hook, *, ipv6: bool) -> None:
    far = site.tunnel(SourceType.GRE, "far", slot=1, ifindex=site.nic2)
    datapath = site.load_fresh(site.tunnel(SourceType.VXLAN, "mirror"), far)
    first, *later = fragments(vxlan(FRAME), ipv6=ipv6)
    assert_all_dropped(datapath, hook, [first])
    for packet in later:
        assert_passed(datapath.run(hook, packet, site.nic2), hook, packet, "far")


def test_each_is_counted_for_its_source(site: Site, hook: Hook, *, ipv6: bool) -> None:
    datapath = site.load_fresh(*site.one_of_each())
    by_kind = {
        kind: fragments(payload, ipv6=ipv6, identity=n) for n, (kind, payload) in enumerate(TUNNELS.values())
    }
    for number in range(3):
        for kind, packets in by_kind.items():
            outcome = datapath.run(hook, packets[number])
            assert_dropped(outcome, kind.name.lower(), len(packets[number]), "outer_fragment")


def test_from_a_sender_that_is_not_allowed(site: Site, hook: Hook, *, ipv6: bool) -> None:
    datapath = site.load_fresh(site.tunnel(SourceType.VXLAN, "mirror", senders="203.0.113.0/24"))
    for packet in fragments(vxlan(FRAME), ipv6=ipv6):
        assert_passed(datapath.run(hook, packet), hook, packet, "mirror")


def test_they_are_forgotten_after_a_while(site: Site, hook: Hook, *, ipv6: bool) -> None:
    datapath = loaded(site)
    first, *later = fragments(vxlan(FRAME), ipv6=ipv6)
    assert_all_dropped(datapath, hook, [first])
    known = datapath.object.map("outer_fragments")
    (key,) = maps.keys(known)
    maps.update(known, key, bytes(8) + maps.lookup(known, key)[0][8:])  # until 0, long ago
    assert_passed(datapath.run(hook, later[0]), hook, later[0], "mirror")


def test_a_whole_packet_is_not_concerned(site: Site, hook: Hook) -> None:
    datapath = loaded(site)
    assert_all_dropped(datapath, hook, fragments(vxlan(FRAME), ipv6=False))
    for carrier in CARRIERS:
        assert_sent(datapath.run(hook, carried(vxlan(sip()), carrier)), "mirror", sip(), VNI)


def test_the_reference_tells_the_same_of_a_mixture(site: Site, hook: Hook) -> None:
    """Packets of two protocols, one of them the host's, whose identities come again."""
    datapath, seen = loaded(site), Fragments()
    payloads = (vxlan(FRAME), in_udp(53, FRAME), gre(FRAME, TEB))
    for number, turn in ((n, t) for t in range(4) for n in range(len(payloads))):
        packets = fragments(payloads[number], ipv6=turn % 2 == 1, identity=(number + turn) % 2)
        for packet in packets[:: -1 if turn == 2 else 1]:
            expected = fate(datapath.settings, site.nic, packet, hook, seen)
            assert datapath.run(hook, packet).verdict == expected.verdict
