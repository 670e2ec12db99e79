"""A frame whose outer packet exceeds the path: XDP leaves it to tc, which does what the file says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from collector.datapath.settings import Oversize
from tests.lib.check import assert_dropped, assert_left_to_tc, assert_passed, assert_sent
from tests.lib.datapath import Datapath, Hook, Site, sent
from tests.lib.outer import IP_OVERHEAD, fragments, outer_packet
from tests.lib.samples import mirrored, sip, sized, tagged
from tests.lib.wire import Wire, t_meters_end

VNI = 12
OTHER_FLOW = "10.0.9.9"  # one that XDP may go on leaving to tc, while other tests go on
PORT_OFFSET = 34  # of the UDP source port in an outer packet


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    with t_meters_end(site) as packets:
        yield packets


def largest(path_mtu: int) -> int:
    """Bytes of the largest frame that fits."""
    return path_mtu - IP_OVERHEAD[4]


def span(site: Site, path_mtu: int, oversize: Oversize = Oversize.FRAGMENT, strip: bool = False) -> Datapath:
    return site.load(site.span(vni=VNI, strip_vlan=strip), path_mtu=path_mtu, oversize=oversize)


@pytest.mark.parametrize("oversize", Oversize)
@pytest.mark.parametrize("path_mtu", [576, 1400, 1500, 3400])
def test_exactly_the_path(site: Site, hook: Hook, path_mtu: int, oversize: Oversize) -> None:
    frame = sized(largest(path_mtu))
    assert_sent(span(site, path_mtu, oversize).run(hook, frame), "pbx", frame, VNI)


@pytest.mark.parametrize("oversize", Oversize)
@pytest.mark.parametrize("path_mtu", [576, 1400, 1500, 3400])
def test_xdp_leaves_one_byte_more_to_tc(site: Site, path_mtu: int, oversize: Oversize) -> None:
    frame = sized(largest(path_mtu) + 1, src=OTHER_FLOW)
    assert_left_to_tc(span(site, path_mtu, oversize), frame)


@pytest.mark.parametrize("path_mtu", [576, 1400, 1500, 3400])
def test_drop(site: Site, path_mtu: int) -> None:
    frame = sized(largest(path_mtu) + 1)
    assert_dropped(span(site, path_mtu, Oversize.DROP).run("tc", frame), "pbx", len(frame), "oversize")


@pytest.mark.parametrize("path_mtu", [576, 1400, 1500, 3400])
@pytest.mark.parametrize("excess", [1, 2, 7, 200])
def test_slice(site: Site, path_mtu: int, excess: int) -> None:
    """Cut to fit; counted as it was received."""
    frame = sized(largest(path_mtu) + excess)
    outcome = span(site, path_mtu, Oversize.SLICE).run("tc", frame)
    assert_sent(outcome, "pbx", frame[: largest(path_mtu)], VNI, received=len(frame), oversize=True)


def test_slice_of_an_unwrapped_frame(site: Site) -> None:
    frame = sized(largest(1400) + 30)
    datapath = site.load(site.vxlan(), path_mtu=1400, oversize=Oversize.SLICE)
    outcome = datapath.run("tc", mirrored(frame, behind=b"behind"))
    assert_sent(outcome, "aws", frame[: largest(1400)], 17, received=len(frame), oversize=True)


def fragmenting(site: Site, path_mtu: int) -> Datapath:
    return site.load(site.span(vni=VNI), path_mtu=path_mtu)


def assert_fragmented(
    datapath: Datapath,
    wire: Wire,
    packet: bytes,
    inner: bytes,
    *,
    vni: int = VNI,
    source: str = "pbx",
) -> int:
    """Every fragment, the last in the program's packet and the others on the wire; returns how many."""
    outcome = datapath.run("tc", packet)
    assert (outcome.verdict, outcome.change) == ("sent", sent(source, len(inner), oversize=True))
    expected = outer_packet(inner, vni, source_port=0, ip_id=outcome.ip_id)
    pieces = fragments(expected, datapath.settings.tmeter.path_mtu)
    on_wire = [wire.receive() for _ in pieces[1:]]
    port = on_wire[0][PORT_OFFSET : PORT_OFFSET + 2]
    assert int.from_bytes(port, "big") >= 49152
    pieces[0] = pieces[0][:PORT_OFFSET] + port + pieces[0][PORT_OFFSET + 2 :]
    assert [piece.hex() for piece in [*on_wire, outcome.packet]] == [piece.hex() for piece in pieces]
    return len(pieces)


@pytest.mark.parametrize(
    ("path_mtu", "size", "count"),
    [
        (1500, 1465, 2),
        (1500, 1466, 2),
        (1500, 1472, 2),
        (1500, 1514, 2),
        (1500, 2920, 2),
        (1500, 3712, 3),
        (1400, 1365, 2),
        (1400, 2736, 2),  # 1,380 bytes of payload fit, but fragments begin at multiples of 8
        (1400, 2737, 3),
        (1400, 1514, 2),
        (1501, 1514, 2),
        (576, 541, 2),
        (576, 1514, 3),
        (576, 3712, 7),
        (3400, 3365, 2),
    ],
)
def test_fragment(site: Site, wire: Wire, path_mtu: int, size: int, count: int) -> None:
    frame = sized(size)
    assert assert_fragmented(fragmenting(site, path_mtu), wire, frame, frame) == count


def test_fragment_of_an_unwrapped_frame(site: Site, wire: Wire) -> None:
    frame = sized(1500)
    datapath = site.load(site.vxlan())
    assert_fragmented(datapath, wire, mirrored(frame), frame, vni=17, source="aws")
    assert_fragmented(datapath, wire, mirrored(frame, behind=bytes(9)), frame, vni=17, source="aws")


def test_stripped_tags_make_room(site: Site) -> None:
    plain = sip() + bytes(largest(1500) - len(sip()))
    frame = sip(tagged(1)) + bytes(largest(1500) - len(sip()))
    assert_sent(span(site, 1500, strip=True).run("xdp", frame), "pbx", plain, VNI, received=len(frame))


@pytest.mark.parametrize("oversize", Oversize)
def test_a_flow_that_needed_tc_stays_there(site: Site, oversize: Oversize) -> None:
    """So that its frames keep their order; other flows are not held back."""
    datapath = site.load_fresh(site.span(vni=VNI), oversize=oversize)
    small, large, other = sized(200), sized(1514), sized(200, src="10.0.0.99")
    assert_sent(datapath.run("xdp", small), "pbx", small, VNI)
    for frame in (large, small, large, small):
        assert_left_to_tc(datapath, frame)
    assert_sent(datapath.run("tc", small), "pbx", small, VNI)
    assert_sent(datapath.run("xdp", other), "pbx", other, VNI)


def test_large_packets_of_the_host_are_passed(site: Site, hook: Hook) -> None:
    packet = sized(3400)
    assert_passed(site.load(site.vxlan()).run(hook, packet), hook, packet, "aws")
