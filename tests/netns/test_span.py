"""A SPAN port's frames at the t-meter: every kind, byte for byte, in VXLAN that others understand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lib import mirrored
from tests.lib.rig import COLLECTOR, STATUS_HOOK, T_METER, Rig, on_link, vxlan
from tests.lib.tap import Tap, inner, is_outer, send
from tests.lib.tshark import VXLAN, fields

STRIPPED_VNI = 13
HEADERS = {
    "ip.src": COLLECTOR,
    "ip.dst": T_METER,
    "ip.ttl": "64",
    "ip.flags.df": "0",
    "ip.flags.mf": "0",
    "ip.checksum.status": "1",  # good
    "udp.checksum": "0x0000",
    **VXLAN,
}


@pytest.fixture(scope="module", params=["xdp", "tc"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Two SPAN ports: one that keeps VLAN tags, at eth1, and one that strips them, at eth2."""
    with on_link(request.param) as rig:
        rig.switch.link("span1", rig.collector, "eth2")
        vxlan(rig.t_meter, STRIPPED_VNI)
        strip = {"name": "stripped", "interface": "eth2", "vni": STRIPPED_VNI, "vlan": "strip"}
        rig.tool.apply([rig.span(), rig.span(**strip)])
        yield rig


def uplink(rig: Rig) -> Tap:
    return Tap(rig.t_meter, "eth0", is_outer)


def kinds() -> dict[str, bytes]:
    return mirrored.well_formed() | mirrored.malformed() | mirrored.runts()


def test_status_says_which_hook_is_in_use(rig: Rig) -> None:
    status = rig.tool.status().raw
    assert [(each["name"], each["hook"]) for each in status["sources"]] == [
        ("pbx", STATUS_HOOK[rig.hook]),
        ("stripped", STATUS_HOOK[rig.hook]),
    ]
    assert status["healthy"] is True
    assert status["t_meters"][0]["up"] is True


def test_every_kind_of_frame_arrives_byte_for_byte(rig: Rig) -> None:
    with uplink(rig) as tap:
        for name, frame in kinds().items():
            seen = len(tap.frames())
            rig.send(frame)
            assert inner(tap.wait(seen + 1)[-1]).hex() == frame.hex(), name
        assert len(tap.frames()) == len(kinds())


def test_the_kernels_own_vxlan_device_takes_them(rig: Rig) -> None:
    frames = list(mirrored.well_formed().values())
    with rig.tap() as tap:
        rig.send(*frames)
        assert sorted(tap.wait(len(frames))) == sorted(frames)


def test_tshark_finds_the_headers_right(rig: Rig) -> None:
    frames = list(kinds().values())
    with uplink(rig) as tap:
        rig.send(*frames)
        outer = tap.wait(len(frames))
    assert set(fields(outer, list(HEADERS))) == {tuple(HEADERS.values())}
    ports_and_ids = fields(outer, ["udp.srcport", "ip.id"])
    assert all(49152 <= int(port) <= 65535 for port, _id in ports_and_ids)
    assert len({identification for _port, identification in ports_and_ids}) == len(frames)


def test_vlan_tags_are_stripped_where_the_file_says_so(rig: Rig) -> None:
    """And the other source, on its own NIC at the same time, keeps them."""
    kinds = mirrored.well_formed()
    tagged = [kinds[name] for name in ("vlan", "priority tag", "qinq", "three tags")]
    with Tap(rig.t_meter, f"vx{STRIPPED_VNI}") as stripped, rig.tap() as kept:
        send(rig.switch, "span1", tagged)
        rig.send(*tagged)
        assert stripped.wait(len(tagged)) == [mirrored.without_tags(frame) for frame in tagged]
        assert kept.wait(len(tagged)) == tagged


def test_both_directions_of_a_flow_have_one_source_port_and_flows_spread(rig: Rig) -> None:
    calls = list(mirrored.numbered(200, (214,), flows=200))
    with uplink(rig) as tap:
        rig.send(*calls, *map(opposite, calls))
        ports = [int(port) for (port,) in fields(tap.wait(400), ["udp.srcport"])]
    assert ports[:200] == ports[200:]
    assert len(set(ports)) > 190


def opposite(frame: bytes) -> bytes:
    """The answer: both ends of Ethernet, IPv4 and UDP exchanged."""
    return b"".join(
        frame[begin:end]
        for begin, end in ((6, 12), (0, 6), (12, 26), (30, 34), (26, 30), (36, 38), (34, 36), (38, None))
    )


def test_what_it_sends_is_counted_as_frames_and_bytes(rig: Rig) -> None:
    frames = list(mirrored.well_formed().values())
    before = rig.tool.status()
    with rig.tap() as tap:
        rig.send(*frames)
        tap.wait(len(frames))
    after = rig.tool.settled(before.frames + len(frames))
    size = sum(map(len, frames))
    assert after.source()["frames"] - before.source()["frames"] == len(frames)
    assert after.source()["bytes"] - before.source()["bytes"] == size
    assert after.sent - before.sent == len(frames)
    assert after.raw["t_meters"][0]["bytes"] - before.raw["t_meters"][0]["bytes"] == size
    assert (after.passed, after.drops) == (before.passed, before.drops)
    assert after.source()["last_frame_age_seconds"] < 60


@pytest.mark.parametrize("hook", ["auto", "tc"])
def test_jumbo_frames_on_jumbo_nics(hook: str) -> None:
    """A veth takes XDP at such an MTU; a NIC that does not is served at tc, and status gives the reason."""
    frames = list(mirrored.numbered(20, (9014, 60, 5000, 8950)))
    with on_link(hook, span_mtu=9000, mtu=9100) as rig:
        rig.apply()
        with rig.tap() as tap:
            rig.send(*frames)
            assert sorted(tap.wait(len(frames))) == sorted(frames)
        source = rig.tool.settled(len(frames)).source()
        assert source["drops"] == dict.fromkeys(source["drops"], 0)
        assert source["hook"] == "xdp-native" or (source["hook"] == "tc" and source["why"])


@pytest.mark.parametrize("hook", ["auto", "tc"])
def test_a_jumbo_frame_leaves_in_as_many_fragments_as_a_plain_path_needs(hook: str) -> None:
    frames = list(mirrored.numbered(20, (9014, 4500)))
    with on_link(hook, span_mtu=9000) as rig:
        rig.apply()
        with rig.tap() as tap:
            rig.send(*frames)
            assert tap.wait(len(frames)) == frames
