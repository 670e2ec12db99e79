"""A cloud mirror's frames on the instance's only NIC: unwrapped, wrapped anew, and nothing else disturbed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lib import mirrored
from tests.lib.cloud import CLOUD, VNIS, Cloud, one_network
from tests.lib.hosttraffic import broadcast_arrives, conversation, pings
from tests.lib.rig import COLLECTOR, STATUS_HOOK, T_METER, VNI, on_link, vxlan
from tests.lib.tap import inner, send
from tests.lib.tshark import VXLAN, fields

RULES: dict[str, tuple[object, dict[int, int | None]]] = {
    "keep": ("keep", {17: 17, 18: 18, 19: 19}),
    "fixed": (VNI, {17: VNI, 18: VNI, 19: VNI}),
    "map with default": ({17: 101, 18: 102, "default": VNI}, {17: 101, 18: 102, 19: VNI}),
    "map": ({17: 101, 18: 102}, {17: 101, 18: 102, 19: None}),
}
SHORTEST_SENT = 34  # bytes; the kernel's VXLAN sender refuses a frame whose IP header is cut
HEADERS = {
    "ip.src": COLLECTOR,
    "ip.dst": T_METER,
    "ip.ttl": "64",
    "ip.checksum.status": "1",  # good
    "udp.checksum": "0x0000",
    **VXLAN,
    "vxlan.vni": "17",
}


@pytest.fixture(scope="module", params=["xdp", "tc"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with one_network(request.param) as cloud:
        cloud.apply()
        yield cloud


def test_frames_of_the_kernels_vxlan_sender_arrive_byte_for_byte(cloud: Cloud) -> None:
    """Never nested: behind the outer header comes the frame itself."""
    cloud.apply()
    assert cloud.tool.status().source("aws")["hook"] == STATUS_HOOK[cloud.hook]
    kinds = mirrored.well_formed() | mirrored.malformed() | mirrored.runts()
    frames = [frame for frame in kinds.values() if len(frame) >= SHORTEST_SENT]
    with cloud.uplink() as tap:
        send(cloud.mirror, "vx17", frames)
        outer = tap.wait(len(frames))
    assert sorted(map(inner, outer)) == sorted(frames)
    assert set(fields(outer, list(HEADERS))) == {tuple(HEADERS.values())}


@pytest.mark.parametrize("rule", RULES)
def test_vnis_are_kept_fixed_or_mapped(cloud: Cloud, rule: str) -> None:
    said, becomes = RULES[rule]
    cloud.apply(vni=said)
    before = cloud.tool.status()
    frames = {vni: next(mirrored.numbered(1, (100,), first=vni)) for vni in VNIS}
    with cloud.uplink() as tap:
        for vni, frame in frames.items():
            send(cloud.mirror, f"vx{vni}", [frame])
        after = cloud.tool.settled(before.frames + len(VNIS))
        arriving = [frames[vni] for vni in VNIS if becomes[vni] is not None]
        outer = tap.wait(len(arriving))
    assert list(map(inner, outer)) == arriving
    assert [vni for (vni,) in fields(outer, ["vxlan.vni"])] == [str(vni) for vni in becomes.values() if vni]
    unknown = 1 if None in becomes.values() else 0
    assert after.drops.get("unknown_vni", 0) - before.drops.get("unknown_vni", 0) == unknown


def test_senders_outside_of_from_are_the_hosts_own_business(cloud: Cloud) -> None:
    cloud.apply(**{"from": [f"{CLOUD}/32"]})
    stranger, friend = mirrored.numbered(2, (100,))
    before = cloud.tool.status()
    with cloud.uplink() as tap:
        send(cloud.mirror, "stranger", [stranger])
        send(cloud.mirror, "vx17", [friend])
        assert list(map(inner, tap.wait(1))) == [friend]
    after = cloud.tool.status()
    assert after.frames - before.frames == 1
    assert after.passed > before.passed


def test_ssh_ping_and_dhcp_on_the_same_nic_are_untouched(cloud: Cloud) -> None:
    cloud.apply()
    before = cloud.tool.status()
    assert conversation(cloud.mirror, cloud.collector, COLLECTOR, b"SSH-2.0-test\r\n" * 5000)
    assert pings(cloud.mirror, COLLECTOR)
    assert broadcast_arrives(cloud.mirror, cloud.collector)
    after = cloud.tool.status()
    assert (after.frames, after.drops) == (before.frames, before.drops)
    assert after.passed > before.passed


def test_outer_fragments_are_counted_for_what_they_are(cloud: Cloud) -> None:
    """The port is in the first fragment alone; the other is known by it."""
    cloud.apply()
    before = cloud.tool.status()
    small, large = mirrored.numbered(2, (100, 1514))
    with cloud.uplink() as tap:
        send(cloud.mirror, "vx17", [large, small])
        assert list(map(inner, tap.wait(1))) == [small]
    after = cloud.tool.settled(before.frames + 3)
    assert after.drops.get("outer_fragment", 0) - before.drops.get("outer_fragment", 0) == 2


def test_sources_on_several_nics_at_once(cloud: Cloud) -> None:
    """A cloud mirror on one NIC, a SPAN port on another, and each has counters of its own."""
    switch = cloud.lab.namespace("switch")
    switch.link("span0", cloud.collector, "eth1")
    cloud.tool.apply([
        {"name": "aws", "type": "vxlan", "interface": "eth0", "hook": cloud.hook},
        {"name": "pbx", "type": "span", "interface": "eth1", "hook": cloud.hook, "vni": VNI},
    ])  # fmt: skip
    before = cloud.tool.status()
    frames = list(mirrored.numbered(60, (100, 214)))
    with cloud.uplink() as tap:
        send(cloud.mirror, "vx18", frames[:20])
        send(switch, "span0", frames[20:])
        outer = tap.wait(60)
    assert sorted(map(inner, outer)) == sorted(frames)
    by_vni: dict[str, list[int]] = {"12": [], "18": []}
    for (vni,), packet in zip(fields(outer, ["vxlan.vni"]), outer, strict=True):
        by_vni[vni].append(mirrored.number(inner(packet)))
    assert {vni: sorted(numbers) for vni, numbers in by_vni.items()} == {
        "12": list(range(20, 60)),
        "18": list(range(20)),
    }
    after = cloud.tool.settled(before.frames + 60)
    assert after.source("aws")["frames"] - before.source("aws")["frames"] == 20
    assert after.source("pbx")["frames"] == 40
    assert cloud.collector.stats("eth1")["rx_packets"] == 40


@pytest.mark.parametrize("hook", ["xdp", "tc"])
def test_the_t_meter_may_be_on_another_nic_than_the_mirror(hook: str) -> None:
    frames = list(mirrored.numbered(100, (60, 214, 1400), flows=10))
    with on_link(hook) as rig:
        mirror = rig.lab.namespace("cloud")
        mirror.link("eth0", rig.collector, "eth2")
        rig.collector.address("eth2", "198.51.100.1/24")
        mirror.address("eth0", "198.51.100.17/24")
        vxlan(mirror, 17, port=14789, vxlan_group="198.51.100.1")
        source = {"name": "aws", "type": "vxlan", "interface": "eth2", "port": 14789, "vni": VNI}
        rig.tool.apply([{**source, "hook": hook}])
        with rig.tap() as tap:
            send(mirror, "vx17", frames)
            assert sorted(tap.wait(100)) == sorted(frames)
        status = rig.tool.status()
        assert status.source("aws")["hook"] == STATUS_HOOK[hook]
        assert (status.frames, status.sent, status.drops) == (100, 100, {})
