"""A t-meter over IPv6, and a frame whose outer packet exceeds the path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet6 import (
    IPv6,
    defragment6,
)
from scapy.layers.l2 import Ether

from collector.datapath.settings import Oversize
from tests.lib.check import assert_dropped, assert_left_to_tc, assert_sent
from tests.lib.checksum import checksum_field, sum_of_udp
from tests.lib.datapath import (
    COLLECTOR6,
    OVER_IPV6,
    OVER_IPV6_UNCHECKED,
    TMETER6,
    Datapath,
    Hook,
    Outcome,
    Site,
    sent,
)
from tests.lib.outer import IP_OVERHEAD, fragments, outer_packet, source_port
from tests.lib.samples import sized
from tests.lib.wire import Wire, t_meters_end

VNI = 12
OTHER_FLOW = "10.0.9.9"  # one that XDP may go on leaving to tc, while other tests go on
VNI = 12
WAYS: dict[str, dict[str, Any]] = {"checksum": OVER_IPV6, "no checksum": OVER_IPV6_UNCHECKED}
LARGEST = 1500 - IP_OVERHEAD[6]


@pytest.fixture(params=WAYS)
def over(request: pytest.FixtureRequest) -> dict[str, Any]:
    return WAYS[request.param]


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    with t_meters_end(site) as packets:
        yield packets


def spanning(site: Site, over: dict[str, Any], **tmeter: Any) -> Datapath:
    return site.load(site.span(vni=VNI), **over, **tmeter)


@pytest.mark.parametrize("path_mtu", [1280, 1400, 1500, 3400])
@pytest.mark.parametrize("oversize", Oversize)
def test_exactly_the_path(
    site: Site, over: dict[str, Any], hook: Hook, path_mtu: int, oversize: Oversize
) -> None:
    frame = sized(path_mtu - IP_OVERHEAD[6])
    datapath = spanning(site, over, path_mtu=path_mtu, oversize=oversize)
    assert_sent(datapath.run(hook, frame), "pbx", frame, VNI)


@pytest.mark.parametrize("excess", [1, 2, 7, 200])
def test_one_byte_more(site: Site, over: dict[str, Any], excess: int) -> None:
    """XDP leaves it to tc, which does what the file says."""
    frame = sized(LARGEST + excess, src=OTHER_FLOW)
    assert_left_to_tc(spanning(site, over), frame)
    dropping = spanning(site, over, oversize=Oversize.DROP)
    assert_dropped(dropping.run("tc", frame), "pbx", len(frame), "oversize")
    slicing = spanning(site, over, oversize=Oversize.SLICE)
    assert_sent(slicing.run("tc", frame), "pbx", frame[:LARGEST], VNI, received=len(frame), oversize=True)


def pieces_of(outcome: Outcome, wire: Wire, count: int) -> list[bytes]:
    """The earlier ones went out on the wire; the last is the program's packet."""
    return [*(wire.receive() for _ in range(count - 1)), outcome.packet]


@pytest.mark.parametrize(
    ("path_mtu", "size", "count"),
    [
        (1500, LARGEST + 1, 2),
        (1500, LARGEST + 2, 2),
        (1500, 1514, 2),
        (1500, 2880, 2),
        (1500, 2881, 3),
        (1500, 3712, 3),
        (1400, 1514, 2),
        (1501, 1514, 2),
        (1280, 1225, 2),
        (1280, 1514, 2),
        (1280, 3680, 3),
        (1280, 3681, 4),
        (3400, 3345, 2),
    ],
)
def test_fragments(
    site: Site, over: dict[str, Any], wire: Wire, path_mtu: int, size: int, count: int
) -> None:
    """Each whole; and put together again, by Scapy, they are the outer packet with a right checksum."""
    frame = sized(size)
    datapath = site.load(site.span(vni=VNI), path_mtu=path_mtu, **over)
    outcome = datapath.run("tc", frame)
    assert (outcome.verdict, outcome.change) == ("sent", sent("pbx", size, oversize=True))
    pieces = pieces_of(outcome, wire, count)
    whole = whole_packet(frame, source_port(bytes(defragmented(pieces))), over)
    expected = fragments(whole, path_mtu, outcome.ip_id)
    assert [each.hex() for each in pieces] == [each.hex() for each in expected]
    assert bytes(defragmented(pieces)).hex() == whole.hex()
    assert checksum_field(whole) == 0 if over is OVER_IPV6_UNCHECKED else sum_of_udp(whole) == 0xFFFF


def whole_packet(frame: bytes, port: int, over: dict[str, Any]) -> bytes:
    ends = {"source": COLLECTOR6, "to": TMETER6, "checksum": over["udp_checksum"]}
    return outer_packet(frame, VNI, source_port=port, **ends)


def defragmented(pieces: list[bytes]) -> Any:
    return Ether(pieces[0][:14]) / defragment6([Ether(each)[IPv6] for each in pieces])


def test_fragments_of_two_frames_do_not_mix(site: Site, wire: Wire) -> None:
    datapath = spanning(site, OVER_IPV6)
    first, second = (datapath.run("tc", sized(1514)).ip_id for _ in range(2))
    ids = {int.from_bytes(wire.receive()[58:62], "big") for _ in range(2)}
    assert ids == {first, second}
    assert len(ids) == 2
