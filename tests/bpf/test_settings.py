"""The program's settings survive the way into the kernel and back."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.datapath import program
from collector.datapath.ports import ALL, Ports, Telephony, encode_ports
from collector.datapath.settings import (
    CONFIG_SIZE,
    MAX_NICS,
    MAX_OWN_ADDRESSES,
    MAX_SOURCES,
    NONE,
    Address,
    Network,
    Oversize,
    Settings,
    Source,
    SourceType,
    TMeter,
    VniRule,
    decode,
    in_order,
)
from collector.datapath.splitter import Splitter
from tests.lib.datapath import PROGRAMS, Site

CPUS = 4
VNIS = st.integers(0, 2**24 - 1)
PORTS = st.integers(1, 65535)
IFINDEXES = st.integers(1, 2**31 - 1)
ADDRESSES4 = st.integers(0, 2**32 - 1).map(IPv4Address)
ADDRESSES6 = st.integers(2**64, 2**128 - 1).map(IPv6Address)  # none that holds an IPv4 address
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F), min_size=1, max_size=16)
NETWORKS: st.SearchStrategy[Network] = st.one_of(
    st.builds(
        lambda address, bits: IPv4Network((address, bits), strict=False), ADDRESSES4, st.integers(0, 32)
    ),
    st.builds(
        lambda address, bits: IPv6Network((address, bits), strict=False), ADDRESSES6, st.integers(0, 128)
    ),
)
TUNNELS = [kind for kind in SourceType if kind != SourceType.SPAN]
WITH_A_PORT = {SourceType.VXLAN, SourceType.GENEVE, SourceType.TZSP}
MACS = st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":"))
RULES = st.sampled_from(VniRule)
MAPS = st.dictionaries(VNIS, VNIS, max_size=5).map(lambda table: tuple(sorted(table.items())))

SHARING = st.fixed_dictionaries(
    {
        "shared_mac": MACS,
        "strict": st.sampled_from([(), (4,), (6,), (4, 6)]),
        "own": st.lists(ADDRESSES4 | ADDRESSES6, max_size=MAX_OWN_ADDRESSES).map(tuple),
    }
)


@st.composite
def tunnel_sources(draw: st.DrawFn, slot: int, ifindex: int, networks: set[Network]) -> Source:
    rule, kind = draw(RULES), draw(st.sampled_from(TUNNELS))
    return Source(
        slot=slot,
        name=draw(NAMES),
        type=kind,
        ifindex=ifindex,
        vni_rule=rule,
        vni=draw(VNIS if rule == VniRule.FIXED else st.none() | VNIS),
        vni_map=draw(MAPS) if rule == VniRule.MAP else (),
        strip_vlan=draw(st.booleans()),
        port=draw(PORTS) if kind in WITH_A_PORT else 0,
        senders=in_order(networks),
    )


@st.composite
def span_sources(draw: st.DrawFn, slot: int, ifindex: int) -> Source:
    sharing: dict[str, Any] = draw(st.just({}) | SHARING)
    return Source(
        slot=slot,
        name=draw(NAMES),
        type=SourceType.SPAN,
        ifindex=ifindex,
        vni=draw(VNIS),
        strip_vlan=draw(st.booleans()),
        rspan_vlan=draw(st.integers(0, 4094)),
        **sharing,
    )


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
            made.append(draw(tunnel_sources(slot, ifindex, {next(networks), next(networks)})))
    return tuple(made)


def tmeters(addresses: st.SearchStrategy[Address]) -> st.SearchStrategy[TMeter]:
    return st.builds(
        TMeter,
        name=NAMES,
        source=addresses,
        address=addresses,
        port=PORTS,
        path_mtu=st.integers(68, 65535),
        oversize=st.sampled_from(Oversize),
        ifindex=IFINDEXES,
        udp_checksum=st.booleans(),
    )


@st.composite
def port_ranges(draw: st.DrawFn) -> tuple[Ports, ...]:
    """In order; none touches another of its kind, and none overlaps another."""
    edges = sorted(draw(st.sets(st.integers(0, ALL - 1), max_size=8)))
    pairs = zip(edges[::2], edges[1::2], strict=False)
    kinds = draw(st.lists(st.sampled_from(Telephony), min_size=4, max_size=4))
    ranges = [Ports(first, last, kind) for (first, last), kind in zip(pairs, kinds, strict=False)]
    apart = (
        each
        for before, each in itertools.pairwise([None, *ranges])
        if each and not (before and before.kind == each.kind and before.last + 1 == each.first)
    )
    return tuple(apart)


SETTINGS = st.builds(
    Settings,
    netns=st.integers(1, 2**32 - 1),
    tmeter=tmeters(ADDRESSES4) | tmeters(ADDRESSES6),
    sources=source_tables(),
    telephony=port_ranges(),
    splitter=st.builds(Splitter, IFINDEXES, IFINDEXES),
)


@given(SETTINGS)
def test_encode_and_decode(wanted: Settings) -> None:
    raw = wanted.encode(CPUS)
    assert len(raw) == CONFIG_SIZE
    tables = (list(entries.items()) for entries in (wanted.sender_entries(), wanted.vni_entries()))
    assert decode(raw, encode_ports(wanted.telephony), *tables) == wanted


@given(SETTINGS)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
    assert decode(wanted.encode(CPUS), bytes(ALL), [], []) == wanted


def test_no_vni_is_not_vni_zero(site: Site) -> None:
    mapped = site.vxlan(vni_rule=VniRule.MAP, vni=0)
    unmapped = site.vxlan(vni_rule=VniRule.MAP, vni=None)
    assert site.settings(mapped).encode(CPUS) != site.settings(unmapped).encode(CPUS)
    assert NONE > 2**24 - 1
