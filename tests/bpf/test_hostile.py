"""Random, damaged and malformed packets: each has exactly one fate, the one that the reference tells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.datapath import maps
from collector.datapath.settings import Oversize, Source, SourceType, TMeter, VniRule
from tests.lib.check import assert_dropped, assert_left_to_tc, assert_passed, assert_sent
from tests.lib.datapath import (
    COLLECTOR_MAC,
    HOOKS,
    OVER_IPV4,
    OVER_IPV6,
    OVER_IPV6_UNCHECKED,
    TMETER_MAC,
    Datapath,
    Hook,
    Site,
)
from tests.lib.hostile import corpus, damaged, packets_of, possible, tried
from tests.lib.judge import Ends, Left, assert_well_formed
from tests.lib.reference import Fate, Fragments, fate
from tests.lib.samples import ANYTHING, LOOPS, mirrored

PATH_MTU = 700
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
def over(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


class Subject:
    """The program with the sources of one kind, loaded twice: what XDP leaves to tc may take its flow along
    for seconds, so it goes to a copy, and so does what is tc's."""

    def __init__(self, site: Site, kind: SourceType, over: str) -> None:
        usual: dict[str, Any] = {"path_mtu": PATH_MTU, "oversize": Oversize.DROP, **T_METERS[over]}
        self._nic = site.nic
        self._copies = [site.load_fresh(*sources_of(site, kind), **usual) for _ in range(2)]
        self._fragments: list[Fragments] = [{}, {}]
        self.settings = self._copies[0].settings
        self.left: list[Left] = []

    def forget_fragments(self) -> None:
        """The program does so as well, but after half a minute."""
        for copy, noted in zip(self._copies, self._fragments, strict=True):
            noted.clear()
            found = copy.object.map("outer_fragments")
            for key in list(maps.keys(found)):
                maps.update(found, key, bytes(maps.info_of(found).value_size))

    def try_one(self, hook: Hook, packet: bytes, what: str) -> bytes:
        """Returns what was sent, or nothing. A checksum to be completed takes its flow another way, for
        seconds: those are other tests' matter."""
        at_first = fate(self.settings, self._nic, packet, hook)
        if at_first.partial or not possible(hook, packet):
            return b""
        tried[what] += 1
        copy = int(hook == "tc" or at_first.left_to_tc)
        expected = fate(self.settings, self._nic, packet, hook, self._fragments[copy])
        sent = assert_fate(expected, self._copies[copy], hook, packet)
        if sent:
            self.left.append(Left(sent, expected.vni, expected.frame, packet))
        return sent


class Subjects:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._loaded: dict[tuple[SourceType, str], Subject] = {}

    def of(self, kind: SourceType, over: str) -> Subject:
        if (kind, over) not in self._loaded:
            self._loaded[kind, over] = Subject(self._site, kind, over)
        subject = self._loaded[kind, over]
        subject.forget_fragments()
        return subject

    def left(self) -> dict[Ends, list[Left]]:
        by_ends: dict[Ends, list[Left]] = defaultdict(list)
        for subject in self._loaded.values():
            by_ends[ends_of(subject.settings.tmeter)] += subject.left
        return by_ends


@pytest.fixture(scope="module")
def subjects(site: Site) -> Iterator[Subjects]:
    """At the end tshark decodes all that left: one run for each t-meter, as it takes longer to start."""
    subjects = Subjects(site)
    yield subjects
    for ends, left in subjects.left().items():
        assert_well_formed(left, ends)
        tried["decoded by tshark"] += len(left)


@pytest.fixture
def subject(subjects: Subjects, kind: SourceType, over: str) -> Subject:
    return subjects.of(kind, over)


def ends_of(tmeter: TMeter) -> Ends:
    return Ends((COLLECTOR_MAC, TMETER_MAC), tmeter.source, tmeter.address, tmeter.udp_checksum)


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
        assert_passed(outcome, hook, packet, name)
    return b""


hostile = partial(settings, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@given(data=st.data())
@hostile(max_examples=80)
def test_any_bytes_have_one_fate(subject: Subject, kind: SourceType, hook: Hook, data: st.DataObject) -> None:
    subject.try_one(hook, data.draw(packets_of(kind)), "random")


@pytest.mark.parametrize(
    "frame",
    [ANYTHING["3 VLAN tags"], ANYTHING["IPv6 with extension headers"], LOOPS["behind IP options"]],
    ids=["VLAN tags", "IPv6", "loop"],
)
@pytest.mark.parametrize("kind", [SourceType.SPAN, SourceType.VXLAN], indirect=True)
def test_cut_at_every_byte(subject: Subject, hook: Hook, frame: bytes) -> None:
    """Around every header's end, bare and inside a mirror's packet."""
    for whole in (frame, mirrored(frame)):
        for size in range(14, min(len(whole), 120)):
            subject.try_one(hook, whole[:size], "malformed")


@pytest.mark.parametrize("over", T_METERS)
def test_a_corpus_of_malformed_tunnels(subjects: Subjects, hook: Hook, over: str) -> None:
    """Each t-meter gets every third case."""
    for kind in SourceType:
        if kind != SourceType.SPAN:
            subject = subjects.of(kind, over)
            for packet in islice(corpus(kind), list(T_METERS).index(over), None, len(T_METERS)):
                subject.try_one(hook, packet, "malformed")


@given(data=st.data())
@hostile(max_examples=40)
def test_both_hooks_send_the_same(subject: Subject, kind: SourceType, data: st.DataObject) -> None:
    """The flow's port as well, so that its frames stay together whichever hook sends them."""
    packet = data.draw(damaged(packets_of(kind)))
    if not possible("tc", packet):
        return
    at_xdp, at_tc = (subject.try_one(hook, packet, "at both hooks") for hook in HOOKS)
    if at_xdp and at_tc:
        assert without_ip_id(at_xdp) == without_ip_id(at_tc)


def without_ip_id(packet: bytes) -> bytes:
    if packet[12:14] == b"\x86\xdd":
        return packet
    return packet[:18] + packet[20:24] + packet[26:]
