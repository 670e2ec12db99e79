"""Hostile packets by the thousand, from one namespace through the collector's to the t-meter's: each has the
fate that the reference tells, is counted once, and nothing else leaves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from collector.datapath.settings import SourceType
from tests.lib import tunnels
from tests.lib.hostile import SENDERS, between_namespaces, corpus, damage, noise
from tests.lib.judge import Left, assert_well_formed, inner, vni_of
from tests.lib.reference import Fate
from tests.lib.rig import STATUS_HOOK, Figures
from tests.lib.samples import ANYTHING, LOOPS, mirrored, sip, sized, tagged
from tests.lib.siege import SOURCES, SPAN, TUNNELS, Case, Content, Siege, siege
from tests.lib.tap import Tap, send
from tests.lib.tunnels import CARRIERS, OVERLAYS, RICHEST, TEB, carried

KINDS = [kind for kind in SourceType if kind != SourceType.SPAN]
DAMAGED, NOISE = 1500, 300
SIZES = (14, 60, 1400, 1444, 1445, 1464, 1465, 1514)  # around what fits the path, over IPv4 and IPv6


@pytest.mark.parametrize("hook", ["xdp", "tc"])
@pytest.mark.parametrize("version", [4, 6])
def test_each_of_thousands_has_its_fate_and_nothing_else_leaves(hook: str, version: int) -> None:
    chance = Random(f"{hook}, IPv{version}")  # noqa: S311 - no secret
    with siege(hook, version) as here, ExitStack() as taps:
        sent = {
            TUNNELS: here.fates(TUNNELS, hostile_tunnels(chance, version)),
            SPAN: here.fates(SPAN, hostile_frames(chance)),
        }
        before = {nic: here.collector.stats(nic)["rx_packets"] for nic in sent}
        wire = taps.enter_context(here.uplink())
        behind = [taps.enter_context(Tap(here.mirror, nic)) for nic in sent]
        for nic, cases in sent.items():
            send(here.mirror, nic, (case.packet for case in cases))
        every = [*sent[TUNNELS], *sent[SPAN]]
        status = here.accounted(len(every))
        arrived = wire.wait(status.sent)
        every = cut_within_headers(every, arrived)
        assert_accounted(status, every)
        assert_what_left(here, arrived, every)
        for nic, cases in sent.items():
            assert here.collector.stats(nic)["rx_packets"] - before[nic] == len(cases)
        assert wire.frames() == arrived
        assert [tap.frames() for tap in behind] == [[], []]
        assert_still_as_configured(here, status)
    between_namespaces["tried"] += len(every)
    between_namespaces["decoded by tshark"] += len(arrived)


def hostile_tunnels(chance: Random, version: int) -> Iterator[bytes]:
    """Half of the corpus, the other half by the other IP version; and well-formed ones at the end."""
    cases = [packet for kind in KINDS for packet in corpus(kind)]
    yield from cases[version == 6 :: 2]
    whole = [mirrored(frame, ip_src=sender) for frame in FRAMES for sender in SENDERS["IPv4"]]
    whole += [carried(payload, carrier) for payload in too_large() for carrier in CARRIERS]
    whole += [
        carried(wrapped.payload, carrier, src=sender)
        for wrapped in RICHEST.values()
        for carrier in CARRIERS
        for sender in SENDERS[carrier[:4]]
    ]
    yield from whole
    yield from (damage(chance, chance.choice(cases + whole)) for _ in range(DAMAGED))
    yield from (noise(chance) for _ in range(NOISE))
    yield from whole


DEEP = [sip(tagged(tags)) for tags in (2, 8, 9, 10)]
FRAMES = [*ANYTHING.values(), *DEEP, *LOOPS.values(), *OVERLAYS.values(), b""]


def too_large() -> Iterator[tunnels.Payload]:
    """Or just not."""
    for frame in map(sized, SIZES[1:]):
        yield from (tunnels.vxlan(frame), tunnels.geneve(frame, TEB), tunnels.gre(frame, TEB))
        yield from (tunnels.erspan2(frame), tunnels.tzsp(frame), tunnels.ipip(frame[14:]))


def hostile_frames(chance: Random) -> Iterator[bytes]:
    whole = [*FRAMES[:-1], *map(mirrored, FRAMES), *map(sized, SIZES[1:])]
    for frame in (*DEEP, ANYTHING["IPv6 with extension headers"], *LOOPS.values()):
        yield from (frame[:size] for size in range(14, len(frame)))
    yield from (damage(chance, chance.choice(whole)) for _ in range(DAMAGED))
    yield from (noise(chance) for _ in range(NOISE))
    yield from whole


def cut_within_headers(cases: list[Case], arrived: list[bytes]) -> list[Case]:
    """A veth's sender looks into GRE and IP in IP for the innermost header, beyond the end that the outer
    lengths tell, and in front of that header the kernel cuts nothing off: such a packet may be dropped."""
    missing = expected(cases) - contents(arrived)
    found = []
    for case in cases:
        source = case.fate.source
        if case.longer and source.type in {SourceType.GRE, SourceType.IPIP} and missing[case.content] > 0:
            missing[case.content] -= 1
            dropped = Fate("drop", source, "malformed", received=case.fate.received)
            found.append(replace(case, fate=dropped))
        else:
            found.append(case)
    return found


def expected(cases: list[Case]) -> Counter[Content]:
    return Counter(case.content for case in cases if case.fate.verdict == "sent")


def contents(arrived: list[bytes]) -> Counter[Content]:
    return Counter((vni_of(packet), inner(packet)) for packet in arrived)


def assert_what_left(here: Siege, arrived: list[bytes], cases: list[Case]) -> None:
    origins = {case.content: case.packet for case in cases if case.fate.verdict == "sent"}
    wanted, seen = expected(cases), contents(arrived)
    assert (some(wanted - seen), some(seen - wanted)) == ([], [])
    left = [
        Left(packet, vni_of(packet), inner(packet), origins[vni_of(packet), inner(packet)])
        for packet in arrived
    ]
    assert_well_formed(left, here.ends())


def some(found: Counter[Content]) -> list[tuple[int, str]]:
    return [(vni, frame.hex()) for vni, frame in list(found)[:3]]


def assert_accounted(status: Figures, cases: list[Case]) -> None:
    """To the frame and the byte, for each source and the t-meter."""
    wanted: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        wanted[case.fate.source.name].update(counted(case.fate))
    names = [str(source["name"]) for source in SOURCES]
    assert {name: figures(status.source(name)) for name in names} == {name: +wanted[name] for name in names}
    left = [case.fate for case in cases if case.fate.verdict == "sent"]
    (t_meter,) = status.raw["t_meters"]
    assert (t_meter["frames"], t_meter["bytes"]) == (len(left), sum(fate.received for fate in left))


def counted(fate: Fate) -> dict[str, int]:
    if fate.verdict == "pass":
        return {"passed_frames": 1}
    received = {"frames": 1, "bytes": fate.received}
    return received if fate.verdict == "sent" else {**received, fate.reason: 1}


def figures(source: dict[str, Any]) -> Counter[str]:
    own = {key: source[key] for key in ("frames", "bytes", "passed_frames")}
    return +Counter({**own, **source["drops"]})


def assert_still_as_configured(here: Siege, status: Figures) -> None:
    assert status.raw["healthy"] is True
    assert {source["hook"] for source in status.raw["sources"]} == {STATUS_HOOK[here.hook]}
    assert here.tool.command("plan").stdout == "nothing to change\n"
