"""A SPAN port's frames: everything that arrives goes out, byte for byte, but what is on its way already."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.lib.check import NO_CHANGE, assert_dropped, assert_left_to_tc, assert_sent
from tests.lib.datapath import HOOKS, Datapath, Hook, Site
from tests.lib.outer import outer_packet, source_port
from tests.lib.samples import ANYTHING, LOOPS, NOT_AT_TC, TOO_MANY_TAGS, ether, sip, sized, tagged

VNI = 12
CASES = [(hook, name) for hook in HOOKS for name in ANYTHING if hook == "xdp" or name not in NOT_AT_TC]


@pytest.fixture(scope="module")
def span(site: Site) -> Datapath:
    return site.load(site.span("pbx", vni=VNI))


@pytest.mark.parametrize(("hook", "name"), CASES)
def test_anything_is_sent_as_it_is(span: Datapath, hook: Hook, name: str) -> None:
    assert_sent(span.run(hook, ANYTHING[name]), "pbx", ANYTHING[name], VNI)


@pytest.mark.parametrize("name", LOOPS)
def test_what_is_on_its_way_to_the_tmeter_is_dropped(span: Datapath, hook: Hook, name: str) -> None:
    assert_dropped(span.run(hook, LOOPS[name]), "pbx", len(LOOPS[name]), "loop")


@pytest.mark.parametrize("strip", [False, True], ids=["tags kept", "tags stripped"])
@pytest.mark.parametrize("name", TOO_MANY_TAGS)
def test_more_tags_than_are_looked_behind(site: Site, hook: Hook, name: str, *, strip: bool) -> None:
    """At tc the outermost of them may be beside the packet: see the netns tier."""
    frame = TOO_MANY_TAGS[name]
    outcome = site.load(site.span(strip_vlan=strip)).run(hook, frame)
    assert_dropped(outcome, "pbx", len(frame), "malformed")


@pytest.mark.parametrize("vni", [0, 1, 128, 2**24 - 1])
def test_vni(site: Site, hook: Hook, vni: int) -> None:
    assert_sent(site.load(site.span(vni=vni)).run(hook, sip()), "pbx", sip(), vni)


def test_another_destination_port(site: Site, hook: Hook) -> None:
    outcome = site.load(site.span(), port=8472).run(hook, sip())
    port = source_port(outcome.packet)
    assert outcome.packet == outer_packet(sip(), VNI, source_port=port, ip_id=outcome.ip_id, port=8472)


def test_ip_ids_count_up(span: Datapath, hook: Hook) -> None:
    first, second = (span.run(hook, sip()).ip_id for _ in range(2))
    assert first != second


@pytest.mark.parametrize("tags", range(1, 9))
def test_vlan_tags_stripped_at_xdp(site: Site, tags: int) -> None:
    """At tc the kernel has taken the outermost tag off before a test can give it one: see the netns tier."""
    strip = site.load(site.span(strip_vlan=True))
    frame = sip(tagged(tags))
    assert_sent(strip.run("xdp", frame), "pbx", sip(), VNI, received=len(frame))


@pytest.mark.parametrize("name", ["UDP", "ARP", "tag cut short"])
def test_nothing_to_strip(site: Site, hook: Hook, name: str) -> None:
    strip = site.load(site.span(strip_vlan=True))
    assert_sent(strip.run(hook, ANYTHING[name]), "pbx", ANYTHING[name], VNI)


def test_two_nics(site: Site, hook: Hook) -> None:
    first = site.span("pbx", vni=1)
    second = replace(first, slot=5, name="branch", ifindex=site.nic2, vni=2)
    both = site.load(first, second)
    assert_sent(both.run(hook, sip(), site.nic), "pbx", sip(), 1)
    assert_sent(both.run(hook, sip(), site.nic2), "branch", sip(), 2)


def test_a_nic_without_a_source_is_left_alone(span: Datapath, site: Site, hook: Hook) -> None:
    outcome = span.run(hook, sip(), site.nic2)
    assert (outcome.verdict, outcome.packet, outcome.change) == ("pass", sip(), NO_CHANGE)


def test_jumbo_frame(site: Site) -> None:
    """Larger than a page: XDP leaves it to tc. (A test run at tc takes less than a page.)"""
    jumbo = site.load_fresh(site.span(), path_mtu=9000)
    assert_sent(jumbo.run("xdp", sized(3400)), "pbx", sized(3400), VNI)
    assert_left_to_tc(jumbo, sized(8964))
    assert_sent(jumbo.run("tc", sized(3700)), "pbx", sized(3700), VNI)


def test_the_frames_ethernet_addresses_change_nothing(span: Datapath, hook: Hook) -> None:
    frame = sip(ether(dst="00:00:00:00:00:00", src="ff:ff:ff:ff:ff:ff"))
    assert_sent(span.run(hook, frame), "pbx", frame, VNI)
