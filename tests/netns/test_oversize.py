"""A frame whose outer packet exceeds the path: in fragments, cut or dropped, as the file says."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.lib import mirrored
from tests.lib.rig import Rig, on_link
from tests.lib.tap import Tap, inner, is_outer
from tests.lib.tshark import fields

PATH_MTU = 1500
FITS = PATH_MTU - 36  # bytes: 20 IPv4, 8 UDP, 8 VXLAN around it
ROUTE_MTU = 1400
MANY = 1000


@pytest.fixture(scope="module", params=["xdp", "tc"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with on_link(request.param) as rig:
        yield rig


def sizes(count: int, smallest: int) -> tuple[int, ...]:
    return tuple(random.Random(9).randint(smallest, mirrored.LARGEST) for _ in range(count))  # noqa: S311


def test_fragments_are_all_reassembled_by_the_kernel_and_nothing_is_changed(rig: Rig) -> None:
    rig.apply()
    before = rig.tool.status()
    frames = list(mirrored.numbered(MANY, sizes(MANY, FITS + 1), flows=7))
    with rig.tap() as tap, Tap(rig.t_meter, "eth0", is_outer) as wire:
        rig.send(*frames)
        assert tap.wait(MANY) == frames
        packets = wire.frames()
    assert len(packets) == 2 * MANY
    assert max(map(len, packets)) <= PATH_MTU + 14
    assert set(fields(packets, ["ip.checksum.status", "ip.flags.df", "ip.ttl"])) == {("1", "0", "64")}
    after = rig.tool.status()
    assert after.sent - before.sent == after.frames - before.frames == MANY
    assert after.drops == before.drops


def test_the_largest_frame_that_fits_is_not_fragmented(rig: Rig) -> None:
    rig.apply()
    fits, exceeds = mirrored.numbered(2, (FITS, FITS + 1))
    with Tap(rig.t_meter, "eth0", is_outer) as wire:
        rig.send(fits)
        assert [inner(packet) for packet in wire.wait(1)] == [fits]
        rig.send(exceeds)
        assert len(wire.wait(3)) == 3


def test_every_kind_of_frame_survives_fragmentation(rig: Rig) -> None:
    """Filled up to the largest that a NIC takes, whatever it is."""
    rig.apply()
    kinds = mirrored.well_formed()
    frames = [frame.ljust(mirrored.LARGEST, b"+") for frame in kinds.values()]
    with rig.tap() as tap:
        rig.send(*frames)
        found = set(tap.wait(len(frames)))
    assert [name for name, frame in zip(kinds, frames, strict=True) if frame not in found] == []


def test_slice_cuts_the_frame_to_what_fits(rig: Rig) -> None:
    rig.apply(oversize="slice")
    before = rig.tool.status()
    frames = list(mirrored.numbered(20, (mirrored.LARGEST, FITS + 1, FITS, 100)))
    with rig.tap() as tap, Tap(rig.t_meter, "eth0", is_outer) as wire:
        rig.send(*frames)
        assert sorted(tap.wait(20)) == sorted(frame[:FITS] for frame in frames)
        assert set(fields(wire.frames(), ["ip.checksum.status", "udp.length", "ip.len"])) == {
            ("1", str(size + 16), str(size + 36)) for size in (FITS, 100)
        }
    after = rig.tool.status()
    assert after.sent - before.sent == 20
    assert after.drops == before.drops


def test_drop_drops_it_and_counts_it(rig: Rig) -> None:
    rig.apply(oversize="drop")
    before = rig.tool.status()
    frames = list(mirrored.numbered(20, (mirrored.LARGEST, FITS + 1, FITS, 100)))
    with rig.tap() as tap:
        rig.send(*frames)
        assert sorted(tap.wait(10)) == sorted(frame for frame in frames if len(frame) <= FITS)
    after = rig.tool.status()
    assert after.frames - before.frames == 20
    assert after.sent - before.sent == 10
    assert after.drops["oversize"] - before.drops.get("oversize", 0) == 10


def test_a_routes_own_mtu_counts(rig: Rig) -> None:
    index = rig.collector.index("eth0")
    rig.collector.ipr.route("add", dst="192.0.2.2/32", oif=index, metrics={"mtu": ROUTE_MTU})
    try:
        rig.apply()
        frames = list(mirrored.numbered(50, (mirrored.LARGEST, ROUTE_MTU - 35, ROUTE_MTU - 36, 100)))
        with rig.tap() as tap, Tap(rig.t_meter, "eth0", is_outer) as wire:
            rig.send(*frames)
            assert sorted(tap.wait(50)) == sorted(frames)
            assert max(map(len, wire.frames())) == ROUTE_MTU + 14
        assert rig.tool.status().raw["t_meters"][0]["path_mtu"] == ROUTE_MTU
    finally:
        rig.collector.ipr.route("del", dst="192.0.2.2/32", oif=index)
