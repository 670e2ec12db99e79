"""The next hop and the slower ways: what XDP leaves to tc, and what tc gives to the splitter."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from collector.operate.lab import wait_for
from collector.operate.machine import NUD_PERMANENT
from tests.lib.check import NO_CHANGE, assert_dropped, assert_left_to_tc, assert_sent
from tests.lib.datapath import TMETER, TMETER_MAC, Datapath, Hook, Site, sent
from tests.lib.outer import outer_packet, source_port
from tests.lib.samples import LOOPS, mirrored, sip, sized

VNI = 12
SLOT = 3
# Marks of a packet in the splitter, as send.h has them; the low byte is the source's slot.
FRAME, OUTER, PART = 0xC05A0100 | SLOT, 0xC05A0200 | SLOT, 0xC05A0300 | SLOT
NO_MAC = "00:00:00:00:00:00"
SILENT = "192.0.2.77"  # on link; nobody answers
GATEWAY, GATEWAY_MAC = "192.0.2.254", "02:00:00:00:00:fe"
NOWHERE = "203.0.113.1"


@pytest.fixture
def span(site: Site) -> Datapath:
    return site.load_fresh(site.span(slot=SLOT, vni=VNI))


def towards(site: Site, address: str) -> Datapath:
    return site.load_fresh(site.span(slot=SLOT, vni=VNI), address=ip_address(address))


@pytest.fixture
def gateway(site: Site) -> Iterator[str]:
    """The address of a t-meter behind it."""
    site.machine.neighbour("eth0", GATEWAY, GATEWAY_MAC)
    site.machine.route("203.0.113.0/24", GATEWAY)
    yield "203.0.113.10"
    site.machine.ipr.route("del", dst="203.0.113.0/24", gateway=GATEWAY)
    site.machine.ipr.neigh("del", ifindex=site.uplink, dst=GATEWAY, lladdr=GATEWAY_MAC, state=NUD_PERMANENT)


def test_through_a_gateway(site: Site, hook: Hook, gateway: str) -> None:
    outcome = towards(site, gateway).run(hook, sip())
    port = source_port(outcome.packet)
    expected = outer_packet(sip(), VNI, source_port=port, ip_id=outcome.ip_id, to_mac=GATEWAY_MAC, to=gateway)
    assert (outcome.verdict, outcome.packet, outcome.change) == ("sent", expected, sent("pbx", len(sip())))


def test_a_new_mac_address_is_followed(site: Site, span: Datapath, hook: Hook) -> None:
    """The next hop is asked for once a tick of the kernel's clock."""
    assert_sent(span.run(hook, sip()), "pbx", sip(), VNI)
    moved = "02:00:00:00:00:03"
    try:
        site.machine.neighbour("eth0", TMETER, moved)
        wait_for(
            lambda: span.run_only(hook, sip())[1].startswith(bytes.fromhex("020000000003")), "the new address"
        )
        after = span.run(hook, sip())
        port = source_port(after.packet)
        assert after.packet == outer_packet(sip(), VNI, source_port=port, ip_id=after.ip_id, to_mac=moved)
    finally:
        site.machine.neighbour("eth0", TMETER, TMETER_MAC)


def test_no_route(site: Site) -> None:
    datapath = towards(site, NOWHERE)
    assert_left_to_tc(datapath, sip())
    assert_dropped(datapath.run("tc", sip()), "pbx", len(sip()), "no_route")


def test_a_silent_neighbour_is_resolved_in_the_splitter(site: Site) -> None:
    """The outer packet is complete but for the MAC addresses; the kernel fills them in later."""
    datapath = towards(site, SILENT)
    assert_left_to_tc(datapath, sip())
    outcome = datapath.run("tc", sip())
    headers: dict[str, Any] = {"to_mac": NO_MAC, "from_mac": NO_MAC, "to": SILENT}
    expected = outer_packet(
        sip(), VNI, source_port=source_port(outcome.packet), ip_id=outcome.ip_id, **headers
    )
    assert (outcome.verdict, outcome.packet, outcome.mark) == ("sent", expected, OUTER)
    assert outcome.change == sent("pbx", len(sip()))


def test_a_flow_that_waited_for_its_neighbour_stays_at_tc(site: Site) -> None:
    """So that its frames keep their order; other flows are not held back."""
    datapath, other = towards(site, SILENT), sized(200)
    assert_left_to_tc(datapath, sip())
    site.machine.neighbour("eth0", SILENT, GATEWAY_MAC)
    try:
        assert_left_to_tc(datapath, sip())
        assert datapath.run("xdp", other).verdict == "sent"
    finally:
        site.machine.ipr.neigh(
            "del", ifindex=site.uplink, dst=SILENT, lladdr=GATEWAY_MAC, state=NUD_PERMANENT
        )


def test_without_forwarding_on_lo_the_splitter_finds_the_way(site: Site, span: Datapath) -> None:
    try:
        site.machine.sysctl("net/ipv4/conf/lo/forwarding", 0)
        assert_left_to_tc(span, sip())
        outcome = span.run("tc", sip())
        assert (outcome.verdict, outcome.mark, outcome.change) == ("sent", OUTER, sent("pbx", len(sip())))
    finally:
        site.machine.sysctl("net/ipv4/conf/lo/forwarding", 1)


def test_sent_packets_carry_the_mark_by_which_losses_are_counted(span: Datapath) -> None:
    assert span.run("tc", sip()).mark == OUTER


# Back from the splitter


@pytest.mark.parametrize("mark", [OUTER, PART])
def test_an_outer_packet_goes_on_to_its_neighbour(site: Site, span: Datapath, mark: int) -> None:
    """Counted already: it is only sent."""
    packet = outer_packet(sip(), VNI, source_port=50000, ip_id=1, to_mac=NO_MAC, from_mac=NO_MAC)
    outcome = span.run("tc", packet, site.splitter.rx, mark=mark)
    assert (outcome.verdict, outcome.packet, outcome.change) == ("sent", packet, NO_CHANGE)


def test_an_outer_packet_that_lost_its_route_is_no_longer_counted_as_sent(site: Site) -> None:
    packet = outer_packet(sip(), VNI, source_port=50000, ip_id=1, to=NOWHERE)
    outcome = towards(site, NOWHERE).run("tc", packet, site.splitter.rx, mark=OUTER)
    assert (outcome.verdict, outcome.change) == ("drop", {"pbx no_route": 1, "t-meter frames": -1})


def test_an_earlier_fragment_that_lost_its_route_is_not_counted(site: Site) -> None:
    """Its last one is."""
    packet = outer_packet(sip(), VNI, source_port=50000, ip_id=1, to=NOWHERE)
    outcome = towards(site, NOWHERE).run("tc", packet, site.splitter.rx, mark=PART)
    assert (outcome.verdict, outcome.change) == ("drop", NO_CHANGE)


@pytest.mark.parametrize("mark", [0, 1, 0x200, 0x12340200])
def test_what_is_not_ours_in_the_splitter_is_dropped(site: Site, span: Datapath, mark: int) -> None:
    outcome = span.run("tc", sip(), site.splitter.rx, mark=mark)
    assert (outcome.verdict, outcome.change) == ("drop", NO_CHANGE)


def test_a_frame_comes_back_and_is_sent(site: Site, span: Datapath) -> None:
    assert_sent(span.run("tc", sip(), site.splitter.rx, mark=FRAME), "pbx", sip(), VNI)


def test_a_loop_comes_back_and_is_dropped(site: Site, span: Datapath) -> None:
    loop = LOOPS["outer packet"]
    assert_dropped(span.run("tc", loop, site.splitter.rx, mark=FRAME), "pbx", len(loop), "loop")


def test_an_unwrapped_frame_comes_back_and_is_sent(site: Site) -> None:
    datapath = site.load_fresh(site.vxlan("aws", slot=SLOT))
    outcome = datapath.run("tc", mirrored(sip()), site.splitter.rx, mark=FRAME)
    assert_sent(outcome, "aws", sip(), 17)


# Superframes


def test_a_superframe_goes_to_the_splitter_and_its_flow_follows(site: Site, span: Datapath) -> None:
    """Nothing is counted until its frames come back, one by one."""
    frame, other = sized(1500), sized(1500, src="10.0.0.99")
    for context in ({"gso_size": 500, "gso_segs": 3}, {}):
        outcome = span.run("tc", frame, **context)
        assert (outcome.verdict, outcome.packet, outcome.mark) == ("sent", frame, FRAME)
        assert outcome.change == NO_CHANGE
    assert_left_to_tc(span, frame)
    small = other[:1000]
    assert_sent(span.run("xdp", small), "pbx", small, VNI)
    assert_sent(span.run("tc", sip(), site.splitter.rx, mark=FRAME), "pbx", sip(), VNI)


def test_a_superframe_of_a_mirror_goes_to_the_splitter(site: Site) -> None:
    """Its lengths are wrong until the kernel has split it."""
    datapath = site.load_fresh(site.vxlan("aws", slot=SLOT))
    packet = mirrored(sized(1500), udp_len=500)
    outcome = datapath.run("tc", packet, gso_size=500, gso_segs=3)
    assert (outcome.verdict, outcome.packet, outcome.mark) == ("sent", packet, FRAME)
    assert outcome.change == NO_CHANGE
