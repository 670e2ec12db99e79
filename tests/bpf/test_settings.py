"""The program's settings survive the way into the kernel and back."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.datapath import program
from collector.datapath.program import (
    MAX_NICS,
    MAX_SOURCES,
    NONE,
    Oversize,
    Settings,
    Source,
    SourceType,
    TMeter,
    VniRule,
    decode,
)
from collector.datapath.splitter import Splitter
from tests.lib.datapath import PROGRAMS, Site

VNIS = st.integers(0, 2**24 - 1)
PORTS = st.integers(1, 65535)
IFINDEXES = st.integers(1, 2**31 - 1)
ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address)
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F), min_size=1, max_size=16)
NETWORKS = st.builds(
    lambda address, bits: IPv4Network((address, bits), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
RULES = st.sampled_from(VniRule)
MAPS = st.dictionaries(VNIS, VNIS, max_size=5).map(lambda table: tuple(sorted(table.items())))


@st.composite
def vxlan_sources(draw: st.DrawFn, slot: int, ifindex: int, networks: set[IPv4Network]) -> Source:
    rule = draw(RULES)
    return Source(
        slot=slot,
        name=draw(NAMES),
        type=SourceType.VXLAN,
        ifindex=ifindex,
        vni_rule=rule,
        vni=draw(VNIS if rule == VniRule.FIXED else st.none() | VNIS),
        vni_map=draw(MAPS) if rule == VniRule.MAP else (),
        strip_vlan=draw(st.booleans()),
        port=draw(PORTS),
        senders=tuple(sorted(networks)),
    )


@st.composite
def span_sources(draw: st.DrawFn, slot: int, ifindex: int) -> Source:
    return Source(slot, draw(NAMES), SourceType.SPAN, ifindex, vni=draw(VNIS), strip_vlan=draw(st.booleans()))


@st.composite
def source_tables(draw: st.DrawFn) -> tuple[Source, ...]:
    """By slot, with holes; a NIC has one span source or any number of others, which share no sender."""
    slots = sorted(draw(st.sets(st.integers(0, MAX_SOURCES - 1), min_size=1, max_size=6)))
    *spans, first, second = draw(st.lists(IFINDEXES, min_size=3, max_size=MAX_NICS, unique=True))
    networks = iter(draw(st.lists(NETWORKS, min_size=2 * len(slots), max_size=2 * len(slots), unique=True)))
    made = []
    for slot in slots:
        if draw(st.booleans()) and spans:
            made.append(draw(span_sources(slot, spans.pop())))
        else:
            ifindex = draw(st.sampled_from((first, second)))
            made.append(draw(vxlan_sources(slot, ifindex, {next(networks), next(networks)})))
    return tuple(made)


TMETERS = st.builds(
    TMeter,
    name=NAMES,
    source=ADDRESSES,
    address=ADDRESSES,
    port=PORTS,
    path_mtu=st.integers(68, 65535),
    oversize=st.sampled_from(Oversize),
    ifindex=IFINDEXES,
)
SETTINGS = st.builds(
    Settings,
    netns=st.integers(1, 2**32 - 1),
    tmeter=TMETERS,
    sources=source_tables(),
    splitter=st.builds(Splitter, IFINDEXES, IFINDEXES),
)


@given(SETTINGS)
@settings(deadline=None)
def test_encode_and_decode(wanted: Settings) -> None:
    raw = wanted.encode()
    assert len(raw) == program.CONFIG_SIZE
    assert decode(raw, list(wanted.sender_entries().items()), list(wanted.vni_entries().items())) == wanted


@given(SETTINGS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_through_the_kernel(site: Site, wanted: Settings) -> None:
    """Each program alone tells what it was loaded with: not all of them use every map."""
    loaded = program.load(wanted, site.folder)
    for name in PROGRAMS.values():
        assert program.read_settings(loaded.program(name)) == wanted


def test_a_full_table(site: Site) -> None:
    sources = tuple(site.span(f"span{n}", slot=n, ifindex=100 + n, vni=n) for n in range(MAX_NICS))
    wanted = site.settings(*sources)
    assert program.read_settings(program.load(wanted, site.folder).program("collector_tc")) == wanted


def test_longest_name(site: Site) -> None:
    wanted = site.settings(site.span("n" * 32))
    assert decode(wanted.encode(), [], []) == wanted


def test_no_vni_is_not_vni_zero(site: Site) -> None:
    mapped = site.vxlan(vni_rule=VniRule.MAP, vni=0)
    unmapped = site.vxlan(vni_rule=VniRule.MAP, vni=None)
    assert site.settings(mapped).encode() != site.settings(unmapped).encode()
    assert NONE > 2**24 - 1
