"""Random, damaged and malformed packets: each has exactly one fate, the one that the reference tells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.datapath.settings import Oversize, Source, SourceType, VniRule
from tests.lib.check import NO_CHANGE, assert_dropped, assert_left_to_tc, assert_sent
from tests.lib.datapath import (
    OVER_IPV4,
    OVER_IPV6,
    OVER_IPV6_UNCHECKED,
    Datapath,
    Hook,
    Site,
    passed,
)
from tests.lib.hostile import corpus, damaged, packets_of, possible, tried
from tests.lib.reference import Fate, fate
from tests.lib.samples import ANYTHING, LOOPS, mirrored
from tests.lib.tshark import fields

# At XDP an oversize frame sends its whole flow to tc, which other tests look at: here, all frames fit.
PATH_MTU: dict[Hook, int] = {"xdp": 9000, "tc": 700}
T_METERS: dict[str, dict[str, Any]] = {
    "IPv4": OVER_IPV4,
    "IPv6": OVER_IPV6,
    "IPv6 without checksum": OVER_IPV6_UNCHECKED,
}


def sources_of(site: Site, kind: SourceType) -> tuple[Source, ...]:
    if kind == SourceType.SPAN:
        return (site.span(),)
    if kind == SourceType.VXLAN:
        return three_by_sender_and_port(site)
    wide = site.tunnel(kind, "wide", senders="198.51.0.0/16 2001:db8::/32")
    narrow = site.tunnel(
        kind, "narrow", slot=1, senders="203.0.113.0/24 2001:db8:ffff::/48", vni_rule=VniRule.FIXED, vni=7
    )
    return wide, narrow


def three_by_sender_and_port(site: Site) -> tuple[Source, ...]:
    mapped: dict[str, Any] = {"vni_rule": VniRule.MAP, "vni_map": ((17, 101), (2**24 - 1, 0))}
    fixed: dict[str, Any] = {"vni_rule": VniRule.FIXED, "vni": 2**24 - 1}
    return (
        site.vxlan("aws", senders="198.51.100.0/24", strip_vlan=True),
        site.vxlan("azure", slot=1, senders="203.0.113.0/24 198.51.100.0/29", **mapped),
        site.vxlan("oci", slot=2, port=4790, **fixed),
    )


@pytest.fixture(params=SourceType, ids=lambda kind: kind.name.lower())
def kind(request: pytest.FixtureRequest) -> SourceType:
    found: SourceType = request.param
    return found


@pytest.fixture(params=["IPv4", "IPv6"])
def over(request: pytest.FixtureRequest) -> dict[str, Any]:
    return T_METERS[request.param]


@pytest.fixture
def datapath(site: Site, kind: SourceType, over: dict[str, Any], hook: Hook) -> Datapath:
    return loaded(site, kind, hook, over)


def loaded(site: Site, kind: SourceType, hook: Hook, over: dict[str, Any]) -> Datapath:
    return site.load(*sources_of(site, kind), path_mtu=PATH_MTU[hook], oversize=Oversize.DROP, **over)


def assert_fate(expected: Fate, datapath: Datapath, hook: Hook, packet: bytes) -> bytes:
    """Returns what was sent, or nothing."""
    if expected.left_to_tc:
        assert_left_to_tc(datapath, packet)
        return b""
    outcome, name = datapath.run(hook, packet), expected.source.name
    if expected.verdict == "sent":
        assert_sent(outcome, name, expected.frame, expected.vni, received=expected.received)
        return outcome.packet
    if expected.verdict == "drop":
        assert_dropped(outcome, name, expected.received, expected.reason)
    else:
        counted = passed(name) if hook == "tc" else NO_CHANGE
        assert (outcome.verdict, outcome.packet, outcome.change) == ("pass", packet, counted)
    return b""


def try_one(datapath: Datapath, hook: Hook, packet: bytes, what: str) -> tuple[bytes, int]:
    """What was sent and its VNI. A checksum to be completed takes its flow another way, for seconds: those
    are other tests' matter."""
    expected = fate(datapath.settings, datapath.settings.sources[0].ifindex, packet, hook)
    if expected.partial or not possible(hook, packet):
        return b"", 0
    tried[what] += 1
    return assert_fate(expected, datapath, hook, packet), expected.vni


hostile = partial(
    settings, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(data=st.data())
@hostile(max_examples=80)
def test_any_bytes_have_one_fate(
    datapath: Datapath, kind: SourceType, hook: Hook, data: st.DataObject
) -> None:
    try_one(datapath, hook, data.draw(packets_of(kind)), "random")


@pytest.mark.parametrize(
    "frame",
    [ANYTHING["3 VLAN tags"], ANYTHING["IPv6 with extension headers"], LOOPS["behind IP options"]],
    ids=["VLAN tags", "IPv6", "loop"],
)
@pytest.mark.parametrize("kind", [SourceType.SPAN, SourceType.VXLAN], indirect=True)
def test_cut_at_every_byte(datapath: Datapath, hook: Hook, frame: bytes) -> None:
    """Around every header's end, bare and inside a mirror's packet."""
    for whole in (frame, mirrored(frame)):
        for size in range(14, min(len(whole), 120)):
            try_one(datapath, hook, whole[:size], "malformed")


@pytest.mark.parametrize("over", T_METERS)
def test_a_corpus_of_malformed_tunnels(site: Site, hook: Hook, over: str) -> None:
    """Each t-meter gets every third case; and tshark, which is not ours, finds nothing wrong with the outer
    headers of what was sent."""
    outputs = [
        try_one(loaded(site, kind, hook, T_METERS[over]), hook, packet, "malformed")
        for kind in SourceType
        if kind != SourceType.SPAN
        for packet in islice(corpus(kind), list(T_METERS).index(over), None, len(T_METERS))
    ]
    outputs = [(packet, vni) for packet, vni in outputs if packet]
    tried["decoded by tshark"] += len(outputs)
    assert_well_formed_outside(outputs, OUTER[over])


@dataclass(frozen=True)
class Outer:
    """Layers, and the first value of some fields, as tshark has them: the first is the outermost."""

    layers: str
    length: str  # a field
    headers: int  # bytes in front of what it counts
    network: tuple[str, str]  # a field, and what it has to say
    checksum: str  # UDP's


GOOD, NOT_PRESENT, ZERO_OVER_IPV6 = "1", "3", "4"
LAYERS4, LAYERS6 = "eth:ethertype:ip:udp:vxlan", "eth:ethertype:ipv6:udp:vxlan"
OUTER: dict[str, Outer] = {
    "IPv4": Outer(LAYERS4, "ip.len", 14, ("ip.checksum.status", GOOD), NOT_PRESENT),
    "IPv6": Outer(LAYERS6, "ipv6.plen", 54, ("ipv6.hlim", "64"), GOOD),
    "IPv6 without checksum": Outer(LAYERS6, "ipv6.plen", 54, ("ipv6.hlim", "64"), ZERO_OVER_IPV6),
}


def assert_well_formed_outside(outputs: list[tuple[bytes, int]], outer: Outer) -> None:
    """A layer found malformed would come before VXLAN."""
    names = ["frame.protocols", outer.length, outer.network[0], "udp.checksum.status", "udp.length"]
    rows = fields((packet for packet, _ in outputs), [*names, "udp.dstport", "vxlan.flags", "vxlan.vni"])
    found = [(row[0].startswith(outer.layers), *row[1:]) for row in rows]
    assert found == [outer_row(len(packet), vni, outer) for packet, vni in outputs]


def outer_row(size: int, vni: int, outer: Outer) -> tuple[object, ...]:
    udp = size - 54 if outer.layers == LAYERS6 else size - 34
    length = str(size - outer.headers)
    return (True, length, outer.network[1], outer.checksum, str(udp), "4789", "0x0800", str(vni))


@given(data=st.data())
@hostile(max_examples=40)
def test_both_hooks_send_the_same(
    site: Site, kind: SourceType, over: dict[str, Any], data: st.DataObject
) -> None:
    """The flow's port as well, so that its frames stay together whichever hook sends them."""
    packet = data.draw(damaged(packets_of(kind)))
    datapath = loaded(site, kind, "xdp", over)
    expected = fate(datapath.settings, site.nic, packet, "xdp")
    if expected.partial or not possible("tc", packet):
        return
    tried["at both hooks"] += 1
    at_xdp, at_tc = (datapath.run_only(hook, packet) for hook in ("xdp", "tc"))
    if at_xdp[0] == at_tc[0] == "sent":
        assert without_ip_id(at_xdp[1]) == without_ip_id(at_tc[1])
    else:
        assert at_xdp[0] in {at_tc[0], "pass"}


def without_ip_id(packet: bytes) -> bytes:
    if packet[12:14] == b"\x86\xdd":
        return packet
    return packet[:18] + packet[20:24] + packet[26:]
