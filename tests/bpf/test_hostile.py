"""Random and mutated bytes: each packet has exactly one fate, the one that the reference tells."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.datapath.program import Oversize, Source, VniRule
from tests.lib.check import NO_CHANGE, assert_dropped, assert_left_to_tc, assert_sent
from tests.lib.datapath import Datapath, Hook, Site, passed
from tests.lib.reference import Fate, fate
from tests.lib.samples import ANYTHING, LOOPS, MIRROR, mirrored, sized

# At XDP an oversize frame sends its whole flow to tc, which other tests look at: here, all frames fit.
PATH_MTU: dict[Hook, int] = {"xdp": 9000, "tc": 700}
LEAST = {"xdp": 14, "tc": 15}  # bytes that a test run takes
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
MIRRORED = st.sampled_from(
    [*ANYTHING.values(), *LOOPS.values(), sized(600), sized(664), sized(665), sized(1000)]
)
LYING_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "ip_len": st.integers(0, 65535),
        "ip_ihl": st.integers(0, 15),
        "ip_proto": st.integers(0, 255),
        "ip_frag": st.integers(0, 8191),
        "ip_flags": st.integers(0, 7),
        "ip_src": st.sampled_from([MIRROR, "203.0.113.9", "10.0.0.1"]),
        "ip_options": st.integers(0, 10).map(lambda words: "\x01" * (4 * words)),
        "udp_len": st.integers(0, 200) | st.integers(0, 65535),
        "udp_dport": st.sampled_from([4789, 4790, 0]),
        "vxlan_flags": st.sampled_from([0, 0x08, 0x7B, 0x73]),
        "vxlan_vni": st.sampled_from([0, 17, 18, 2**24 - 1]),
        "behind": st.binary(max_size=80),
    },
)
TUNNELLED = st.builds(lambda inner, fields: mirrored(inner, **fields), MIRRORED, LYING_FIELDS)
CUT_INSIDE = st.builds(
    lambda frame, size, behind: mirrored(frame[:size], behind=frame[size:] if behind else b""),
    MIRRORED,
    st.integers(0, 120),
    st.booleans(),
)


@st.composite
def damaged(draw: st.DrawFn, packets: st.SearchStrategy[bytes]) -> bytes:
    """Cut short, lengthened, with single bytes changed; mostly in the headers."""
    packet = bytearray(draw(packets))
    for at, value in draw(st.lists(st.tuples(st.integers(0, 110), st.integers(0, 255)), max_size=4)):
        packet[at % len(packet)] = value
    if draw(st.booleans()):
        del packet[draw(st.integers(14, 160)) :]
    return bytes(packet) + draw(st.binary(max_size=30))


PACKETS = st.one_of(
    damaged(MIRRORED),
    TUNNELLED,
    CUT_INSIDE,
    damaged(TUNNELLED),
    st.binary(min_size=14, max_size=300),
    st.binary(min_size=2, max_size=100).map(lambda rest: bytes(12) + IPV4 + rest),
)

SOURCES: dict[str, Callable[[Site], tuple[Source, ...]]] = {
    "span": lambda site: (site.span(),),
    "vxlan": lambda site: (
        site.vxlan("aws", senders="198.51.100.0/24", strip_vlan=True),
        site.vxlan(
            "azure",
            slot=1,
            senders="203.0.113.0/24 198.51.100.0/29",
            vni_rule=VniRule.MAP,
            vni_map=((17, 101), (2**24 - 1, 0)),
        ),
        site.vxlan("oci", slot=2, port=4790, vni_rule=VniRule.FIXED, vni=2**24 - 1),
    ),
}


@pytest.fixture(params=SOURCES)
def sources(request: pytest.FixtureRequest, site: Site) -> tuple[Source, ...]:
    return SOURCES[request.param](site)


@pytest.fixture
def datapath(site: Site, sources: tuple[Source, ...], hook: Hook) -> Datapath:
    return site.load(*sources, path_mtu=PATH_MTU[hook], oversize=Oversize.DROP)


def possible(hook: Hook, packet: bytes) -> bool:
    """Whether the kernel's test run takes it: at tc no IP header that is cut short."""
    least = {IPV4: 34, IPV6: 54}.get(packet[12:14], LEAST[hook]) if hook == "tc" else LEAST[hook]
    return len(packet) >= least


def assert_fate(expected: Fate, datapath: Datapath, hook: Hook, packet: bytes) -> None:
    if expected.left_to_tc:
        assert_left_to_tc(datapath, packet)
        return
    outcome, name = datapath.run(hook, packet), expected.source.name
    if expected.verdict == "sent":
        assert_sent(outcome, name, expected.frame, expected.vni, received=expected.received)
    elif expected.verdict == "drop":
        assert_dropped(outcome, name, expected.received, expected.reason)
    else:
        counted = passed(name) if hook == "tc" else NO_CHANGE
        assert (outcome.verdict, outcome.packet, outcome.change) == ("pass", packet, counted)


hostile = partial(
    settings, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@given(packet=PACKETS)
@hostile(max_examples=250)
def test_any_bytes_have_one_fate(datapath: Datapath, hook: Hook, packet: bytes) -> None:
    if possible(hook, packet):
        ifindex = datapath.settings.sources[0].ifindex
        assert_fate(fate(datapath.settings, ifindex, packet, hook), datapath, hook, packet)


@pytest.mark.parametrize(
    "frame",
    [ANYTHING["3 VLAN tags"], ANYTHING["IPv6 with extension headers"], LOOPS["behind IP options"]],
    ids=["VLAN tags", "IPv6", "loop"],
)
def test_cut_at_every_byte(datapath: Datapath, hook: Hook, frame: bytes) -> None:
    """Around every header's end, bare and inside a mirror's packet."""
    ifindex = datapath.settings.sources[0].ifindex
    for whole in (frame, mirrored(frame)):
        for size in range(14, min(len(whole), 120)):
            packet = whole[:size]
            if possible(hook, packet):
                assert_fate(fate(datapath.settings, ifindex, packet, hook), datapath, hook, packet)


@given(packet=damaged(MIRRORED) | TUNNELLED)
@hostile(max_examples=100)
def test_both_hooks_send_the_same(site: Site, sources: tuple[Source, ...], packet: bytes) -> None:
    """The flow's port as well, so that its frames stay together whichever hook sends them."""
    if not possible("tc", packet):
        return
    datapath = site.load(*sources, path_mtu=PATH_MTU["xdp"])
    at_xdp, at_tc = (datapath.run_only(hook, packet) for hook in ("xdp", "tc"))
    if at_xdp[0] == at_tc[0] == "sent":
        assert without_ip_id(at_xdp[1]) == without_ip_id(at_tc[1])
    else:
        assert at_xdp[0] in {at_tc[0], "pass"}


def without_ip_id(packet: bytes) -> bytes:
    return packet[:18] + packet[20:24] + packet[26:]
