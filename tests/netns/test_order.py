"""Frames of one flow keep their order, also one that needs different ways; superframes lose nothing."""

from __future__ import annotations

import random
import socket

import pytest

from collector.operate.lab import Namespace, wait_for
from tests.lib import mirrored
from tests.lib.mirrored import complete
from tests.lib.rig import Rig, on_link, poll_in_a_thread
from tests.lib.tap import Tap, is_outer
from tests.lib.transfer import put_together, transfer
from tests.lib.tshark import fields

HOOKS = pytest.mark.parametrize("hook", ["xdp", "tc"])
PHONE, PBX = "198.51.100.10", "198.51.100.20"
PBX_PORT = 5061
SYN = 0x02
NIC_QUEUE = 256  # frames, of a veth
FILE = random.Random(3).randbytes(1_000_000)  # noqa: S311


@HOOKS
@pytest.mark.parametrize("oversize", ["fragment", "slice"])
def test_a_flow_of_small_and_oversize_frames_keeps_its_order(hook: str, oversize: str) -> None:
    """When the flow first needs the slower way it may overtake what still waits in the NIC; never again."""
    few, many = 1000, 20_000
    sizes = (1514, 60, 214, 60, 100, 60, 1300, 60)
    frames = [*mirrored.numbered(few, sizes[1:]), *mirrored.numbered(many, sizes, first=few)]
    with on_link(hook) as rig:
        rig.apply(oversize=oversize)
        make_bursts(rig)
        with Tap(rig.t_meter, "eth0", is_outer) as wire:
            rig.send(*frames)
            wait_for(lambda: len(complete(wire.frames())) >= few + many, "all frames")
            arrived = complete(wire.frames())
    if hook == "tc":
        assert arrived == list(range(few + many))
    assert [number for number in arrived if number < few] == list(range(few))
    assert [number for number in arrived if number >= few] == list(range(few, few + many))
    assert arrived.index(few) >= few - NIC_QUEUE


@HOOKS
def test_a_flow_of_frames_that_fit_keeps_its_order(hook: str) -> None:
    count = 20_000
    with on_link(hook) as rig:
        rig.apply()
        make_bursts(rig)
        with Tap(rig.t_meter, "eth0", is_outer) as wire:
            rig.send(*mirrored.numbered(count, (60, 214, 1400)))
            assert complete(wire.wait(count)) == list(range(count))


def make_bursts(rig: Rig) -> None:
    """At tc a veth does not poll: it hands each frame up at once."""
    if rig.hook == "xdp":
        poll_in_a_thread(rig.collector, "eth1")


@HOOKS
def test_a_file_sent_in_superframes_is_complete_at_the_t_meter(hook: str) -> None:
    """At tc a sender's large segments reach us whole, as they do from a virtual switch; XDP forbids them."""
    with on_link(hook, offload=hook == "tc") as rig:
        phone, pbx = telephony(rig)
        rig.apply()
        if hook == "tc":
            rig.t_meter.features("eth0", {"rx-gro": False})
        with rig.tap() as tap, Tap(rig.collector, "eth1") as at_tc:
            transfer(phone, pbx, PBX, PBX_PORT, FILE)
            wait_for(lambda: stream(tap.frames()) == FILE, "the whole file in the mirrored frames")
            # The ends of both connections may still be on their way.
            wait_for(lambda: len(tap.frames()) == rig.tool.status().sent, "all frames")
            frames = tap.frames()
            assert any(len(frame) > mirrored.LARGEST for frame in at_tc.frames()) == (hook == "tc")
        assert max(map(len, frames)) <= mirrored.LARGEST
        status = rig.tool.status()
        assert status.drops == {}
        assert status.frames == status.sent == len(frames)
        if hook == "tc":  # the t-meter's own GRO, which XDP needs there, writes checksums of its own
            assert set(fields(frames, ["tcp.checksum.status"], only="tcp")) == {("1",)}


def telephony(rig: Rig) -> tuple[Namespace, Namespace]:
    """A phone and a PBX on a bridge; what enters its ports is mirrored to span0."""
    ends = []
    for number, (name, address) in enumerate((("phone", PHONE), ("pbx", PBX)), start=1):
        end = rig.lab.namespace(name)
        end.link("eth0", rig.switch, f"port{number}", offload=True)
        end.address("eth0", f"{address}/24")
        ends.append(end)
    rig.switch.bridge("br0", ["port1", "port2"])
    for port in ("port1", "port2"):
        rig.switch.mirror(port, "span0")
    return ends[0], ends[1]


def stream(frames: list[bytes]) -> bytes:
    """What the phone said."""
    return put_together(
        (
            int.from_bytes(frame[38:42], "big"),
            bool(frame[47] & SYN),
            frame[34 + 4 * (frame[46] >> 4) : 14 + int.from_bytes(frame[16:18], "big")],
        )
        for frame in filter(is_to_pbx, frames)
    )


def is_to_pbx(frame: bytes) -> bool:
    is_tcp = frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP
    return is_tcp and int.from_bytes(frame[36:38], "big") == PBX_PORT
