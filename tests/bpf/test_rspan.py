"""`rspan_vlan`: the RSPAN VLAN's own tag is taken off, and no other. At tc the tag is beside the packet's
bytes, which a test run cannot do: see the netns tier."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q
from scapy.packet import Raw

from tests.lib.check import assert_dropped, assert_sent
from tests.lib.datapath import OVER_IPV4, OVER_IPV6, Datapath, Site
from tests.lib.outer import IP_OVERHEAD, source_port
from tests.lib.samples import TELEPHONES, ether, sip, to_tmeter

RSPAN, VNI = 300, 12


@pytest.fixture(scope="module", params=[OVER_IPV4, OVER_IPV6], ids=["IPv4", "IPv6"])
def rspan(request: pytest.FixtureRequest, site: Site) -> Datapath:
    return site.load(site.span(rspan_vlan=RSPAN), **request.param)


def behind(*tags: Dot1Q) -> bytes:
    layers = ether()
    for tag in tags:
        layers /= tag
    return sip(layers)


RSPAN_TAG = Dot1Q(vlan=RSPAN)
TAKEN: dict[str, tuple[bytes, bytes]] = {
    "alone": (behind(RSPAN_TAG), sip()),
    "with a priority": (behind(Dot1Q(vlan=RSPAN, prio=7, id=1)), sip()),
    "802.1ad": (behind(Dot1AD(vlan=RSPAN)), sip()),
    "over another": (behind(RSPAN_TAG, Dot1Q(vlan=5, prio=3)), behind(Dot1Q(vlan=5, prio=3))),
    "over another like it": (behind(RSPAN_TAG, RSPAN_TAG), behind(RSPAN_TAG)),
    "over QinQ": (
        behind(RSPAN_TAG, Dot1AD(vlan=7), Dot1Q(vlan=5)),
        behind(Dot1AD(vlan=7), Dot1Q(vlan=5)),
    ),
    "over seven": (
        behind(RSPAN_TAG, *[Dot1Q(vlan=n) for n in range(7)]),
        behind(*[Dot1Q(vlan=n) for n in range(7)]),
    ),
    "ARP": (bytes(ether() / RSPAN_TAG / ARP()), bytes(ether() / ARP())),
    "nothing behind it": (bytes(ether() / RSPAN_TAG / Raw(b""))[:18], bytes(ether(type=0))[:14]),
}
LEFT: dict[str, bytes] = {
    "untagged": sip(),
    "another VLAN": behind(Dot1Q(vlan=301)),
    "the RSPAN VLAN within": behind(Dot1Q(vlan=5), RSPAN_TAG),
    "a priority tag": behind(Dot1Q(vlan=0, prio=5)),
    "cut short": behind(RSPAN_TAG)[:17],
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken_off(rspan: Datapath, name: str) -> None:
    received, leaves = TAKEN[name]
    assert_sent(rspan.run("xdp", received), "pbx", leaves, VNI, received=len(received))


@pytest.mark.parametrize("name", LEFT)
def test_left_alone(rspan: Datapath, name: str) -> None:
    assert_sent(rspan.run("xdp", LEFT[name]), "pbx", LEFT[name], VNI)


def test_with_strip_all_go(site: Site) -> None:
    datapath = site.load(site.span(rspan_vlan=RSPAN, strip_vlan=True))
    for frame in (behind(RSPAN_TAG, Dot1Q(vlan=5)), behind(Dot1Q(vlan=5))):
        assert_sent(datapath.run("xdp", frame), "pbx", sip(), VNI, received=len(frame))


def test_a_loop_behind_the_tag(site: Site) -> None:
    loop = to_tmeter(ether() / RSPAN_TAG)
    assert_dropped(site.load(site.span(rspan_vlan=RSPAN)).run("xdp", loop), "pbx", len(loop), "loop")


def test_the_flow_keeps_its_port(rspan: Datapath) -> None:
    ports = {source_port(rspan.run_only("xdp", frame)[1]) for frame in (sip(), behind(RSPAN_TAG))}
    assert len(ports) == 1


def test_the_tag_makes_room(site: Site) -> None:
    """What counts against the path is the frame as it leaves."""
    room = 1500 - IP_OVERHEAD[4] - 14 - 28
    payload = UDP(sport=1, dport=2) / Raw(bytes(room))
    frame, plain = (bytes(link / IP(**TELEPHONES) / payload) for link in (ether() / RSPAN_TAG, ether()))
    assert len(plain) == 1500 - IP_OVERHEAD[4]
    datapath = site.load(site.span(rspan_vlan=RSPAN))
    assert_sent(datapath.run("xdp", frame), "pbx", plain, VNI, received=len(frame))
