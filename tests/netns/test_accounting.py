"""Every frame is accounted for: under load, with losses, and while the configuration is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from collector.operate.lab import wait_for
from tests.lib import mirrored
from tests.lib.cloud import one_network
from tests.lib.mirrored import complete
from tests.lib.rig import VNI, Figures, Rig, on_link, poll_in_a_thread
from tests.lib.tap import Tap, is_outer, send

HOOKS = pytest.mark.parametrize("hook", ["xdp", "tc"])
COUNT = 30_000
SIZES = (60, 214, 1400, 64, 1514, 300, 60, 214, 1000, 60)
APPLIES = 20
TICK = 0.001  # seconds between bursts of the background load
BURST = 5


def assert_all_accounted(status: Figures, received: int) -> None:
    assert status.frames + status.passed == received
    assert status.frames == status.sent + sum(status.drops.values())


@HOOKS
def test_frames_in_are_frames_sent_and_frames_dropped_by_reason_under_load(hook: str) -> None:
    """500 flows, a tenth of the frames oversize, as fast as one socket can."""
    with on_link(hook) as rig:
        rig.apply()
        quiet = rig.t_meter.stats("eth0")["rx_packets"]
        with Tap(rig.t_meter, "eth0", is_outer) as wire:
            rig.send(*mirrored.numbered(COUNT, SIZES, flows=500))
            wait_for(lambda: len(complete(wire.frames())) >= COUNT, "all frames")
            packets = wire.frames()
        status = rig.tool.status()
        assert_all_accounted(status, rig.collector.stats("eth1")["rx_packets"])
        assert (status.frames, status.sent, status.passed, status.drops) == (COUNT, COUNT, 0, {})
        assert sorted(complete(packets)) == list(range(COUNT))
        assert len(packets) == COUNT + SIZES.count(1514) * COUNT // len(SIZES)
        assert rig.t_meter.stats("eth0")["rx_packets"] - quiet == len(packets)


def test_what_the_egress_nic_cannot_take_in_time_is_counted() -> None:
    """The SPAN NIC polls in a thread, so that the queue of the t-meter's is not emptied frame by frame."""
    with on_link("xdp") as rig:
        rig.apply()
        poll_in_a_thread(rig.collector, "eth1")
        quiet = rig.t_meter.stats("eth0")["rx_packets"]
        rig.send(*mirrored.numbered(COUNT, (60, 64), flows=500))
        status = rig.tool.settled(COUNT)
        assert_all_accounted(status, rig.collector.stats("eth1")["rx_packets"])
        assert status.frames == COUNT
        assert status.drops.keys() <= {"egress"}
        assert rig.t_meter.stats("eth0")["rx_packets"] - quiet == status.sent


@HOOKS
def test_the_sums_hold_while_frames_are_dropped_for_several_reasons(hook: str) -> None:
    loop = mirrored.to_t_meter()
    frames = list(mirrored.numbered(COUNT, SIZES, flows=500))
    frames[::7] = [loop] * len(frames[::7])
    oversize = sum(len(frame) == 1514 for frame in frames)
    with on_link(hook) as rig:
        rig.apply(oversize="drop")
        quiet = rig.t_meter.stats("eth0")["rx_packets"]
        rig.send(*frames)
        status = rig.tool.settled(COUNT)
        assert_all_accounted(status, rig.collector.stats("eth1")["rx_packets"])
        assert status.drops == {"loop": frames.count(loop), "oversize": oversize}
        wait_for(lambda: rig.t_meter.stats("eth0")["rx_packets"] - quiet == status.sent, "what was sent")


@HOOKS
def test_on_a_shared_nic_what_is_not_mirrored_is_counted_as_passed(hook: str) -> None:
    with one_network(hook) as cloud:
        cloud.apply(**{"from": ["192.0.2.17/32"]})
        before, came = cloud.tool.status(), cloud.collector.stats("eth0")["rx_packets"]
        frames = list(mirrored.numbered(5000, (60, 214, 1400), flows=50))
        with cloud.uplink() as wire:
            for ifname in ("vx17", "stranger", "vx18"):
                send(cloud.mirror, ifname, frames)
            wire.wait(10_000)
        wait_for(lambda: cloud.collector.stats("eth0")["rx_packets"] - came >= 15_000, "all packets")
        after = cloud.tool.status()
        new = after.frames + after.passed - before.frames - before.passed
        assert new == cloud.collector.stats("eth0")["rx_packets"] - came
        assert after.frames - before.frames == after.sent - before.sent == 10_000
        assert after.drops == before.drops


@contextmanager
def background_load(rig: Rig, *ports: str) -> Iterator[list[int]]:
    """Frames without end, all with numbers of their own; the list holds these, once it is over."""
    over, sent = Event(), list[int]()
    thread = Thread(target=_send_until, args=(rig, ports, over, sent))
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


def _send_until(rig: Rig, ports: tuple[str, ...], over: Event, sent: list[int]) -> None:
    while not over.wait(TICK):
        for port in ports:
            frames = list(mirrored.numbered(BURST, SIZES, first=len(sent), flows=BURST))
            send(rig.switch, port, frames)
            sent += map(mirrored.number, frames)


def await_more(rig: Rig) -> None:
    """Frames flow."""
    already = rig.t_meter.stats("eth0")["rx_packets"]
    wait_for(lambda: rig.t_meter.stats("eth0")["rx_packets"] > already, "more frames")


def test_twenty_changed_configurations_under_load_lose_nothing_and_send_nothing_twice() -> None:
    """With a source at each hook: the NIC eth1 at XDP, eth2 at tc."""
    with on_link("xdp") as rig, Tap(rig.t_meter, "eth0", is_outer) as wire:
        rig.switch.link("span1", rig.collector, "eth2")
        sources = [
            [rig.span(vni=vni), rig.span(name="other", interface="eth2", hook="tc", vni=vni + 100)]
            for vni in (VNI, VNI + 1)
        ]
        rig.tool.apply(sources[0])
        with background_load(rig, "span0", "span1") as sent:
            for turn in range(1, APPLIES + 1):
                assert "replace the program" in rig.tool.apply(sources[turn % 2])
                await_more(rig)
        wait_for(lambda: len(complete(wire.frames())) >= len(sent), "all frames")
        assert sorted(complete(wire.frames())) == sent
        vnis = {VNI, VNI + 1, VNI + 100, VNI + 101}
        assert set(map(vni_of, filter(is_first, wire.frames()))) == vnis
        status = rig.tool.status()
        assert [status.source(name)["hook"] for name in ("pbx", "other")] == ["xdp-native", "tc"]
        assert status.frames == status.sent == len(sent)
        received = sum(rig.collector.stats(name)["rx_packets"] for name in ("eth1", "eth2"))
        assert_all_accounted(status, received)


def is_first(packet: bytes) -> bool:
    """Or the only fragment."""
    return not int.from_bytes(packet[20:22], "big") & 0x1FFF


def vni_of(packet: bytes) -> int:
    return int.from_bytes(packet[46:49], "big")


def test_a_change_of_the_hook_under_load_sends_nothing_twice_and_counts_every_frame() -> None:
    """A veth drops what waits in its own queue while it takes an XDP program on or off; that we never see."""
    with on_link("tc") as rig, Tap(rig.t_meter, "eth0", is_outer) as wire:
        rig.apply()
        with background_load(rig, "span0"):
            for hook in ("xdp", "tc", "xdp", "tc"):
                rig.tool.apply([rig.span(hook=hook)])
        wait_for(lambda: len(complete(wire.frames())) >= rig.tool.status().sent, "what was sent")
        numbers = complete(wire.frames())
        assert len(set(numbers)) == len(numbers)
        status = rig.tool.status()
        assert status.sent == len(numbers)
        assert_all_accounted(status, rig.collector.stats("eth1")["rx_packets"])
