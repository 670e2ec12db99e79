"""What virtual switches hand over unfinished, partial checksums and superframes, leaves finished."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.sctp import crc32c
from scapy.packet import Packet

from collector.operate.lab import Lab, Namespace, wait_for
from tests.lib import mirrored
from tests.lib.rig import STATUS_HOOK, VNI, Rig, on_link, vxlan
from tests.lib.tap import OUTER, Tap, inner, is_outer
from tests.lib.transfer import put_together, transfer
from tests.lib.tshark import fields

PHONE, PBX = "198.51.100.10", "198.51.100.20"
PHONE6, PBX6 = "2001:db8:9::10", "2001:db8:9::20"
MIRROR, MIRRORED_TO = "203.0.113.17", "203.0.113.1"
VTEP, FAR_VTEP = "192.0.2.201", "192.0.2.202"
PORT = 5061
SIZES = (0, 1, 20, 172, 999, 1400)  # bytes of UDP payload, all in one outer packet
FILE = random.Random(8).randbytes(400_000)  # noqa: S311
UDP_CHECKSUM, TCP_CHECKSUM = 6, 16  # where it is in its header
BAD, GOOD = "0", "1"  # as tshark says it


@pytest.fixture(scope="module", params=["xdp", "tc"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The frames of the switch's own sockets arrive with unfinished checksums: in SPAN at eth1, in VXLAN at
    eth2. So does what its VXLAN device sends itself."""
    with on_link(request.param, offload=True) as rig:
        hypervisor = rig.switch
        hypervisor.link("mirror", rig.collector, "eth2", mtu=1600, offload=True)
        hypervisor.address("mirror", f"{MIRROR}/24")
        rig.collector.address("eth2", f"{MIRRORED_TO}/24")
        vxlan(hypervisor, 17, vxlan_group=MIRRORED_TO, vxlan_local=MIRROR)
        cloud = {"name": "cloud", "type": "vxlan", "interface": "eth2", "hook": rig.hook, "vni": VNI}
        rig.tool.apply([rig.span(), cloud])
        yield rig


@pytest.mark.parametrize("path", ["span", "vxlan"])
@pytest.mark.parametrize("pbx", [PBX, PBX6], ids=["IPv4", "IPv6"])
def test_partial_checksums_leave_complete(rig: Rig, path: str, pbx: str) -> None:
    """tshark finds those that arrive wrong and those that leave right; no other byte is changed."""
    before = rig.tool.status()
    phone_at = {"span": "span0", "vxlan": "vx17"}[path]
    arrival = (
        Tap(rig.collector, "eth1", to_pbx) if path == "span" else Tap(rig.collector, "eth2", wraps_to_pbx)
    )
    with arrival as tap, Tap(rig.t_meter, "eth0", wraps_to_pbx) as wire:
        with at(rig.switch, phone_at, pbx):
            speak(rig.switch, pbx)
        count = len(SIZES) + 1
        left = list(map(inner, wire.wait(count)))
        arrived = tap.wait(count)
    if path == "vxlan":
        arrived = list(map(inner, arrived))
    assert checksums(arrived) == {BAD}
    assert checksums(left) == {GOOD}
    assert sorted(map(without_checksum, left)) == sorted(map(without_checksum, arrived))
    after = rig.tool.status()
    assert after.sent - before.sent == after.frames - before.frames >= count
    assert after.drops == before.drops
    assert {each["hook"] for each in after.raw["sources"]} == {STATUS_HOOK[rig.hook]}


@pytest.mark.parametrize("pbx", [PBX, PBX6], ids=["IPv4", "IPv6"])
def test_partial_checksums_inside_a_mirrored_overlay_leave_complete(rig: Rig, pbx: str) -> None:
    """The phone is behind a VXLAN device of the switch, whose packets are mirrored."""
    rig.switch.address("span0", f"{VTEP}/24")
    rig.switch.neighbour("span0", FAR_VTEP, mirrored.PBX)
    overlay = vxlan(rig.switch, 77, vxlan_group=FAR_VTEP, vxlan_local=VTEP)
    before = rig.tool.status()
    try:
        with Tap(rig.collector, "eth1", overlays_pbx) as tap, rig.tap() as received:
            with at(rig.switch, overlay, pbx):
                speak(rig.switch, pbx, SIZES[:-1])
            arrived = tap.wait(len(SIZES))
            wait_for(lambda: len(overlaid(received)) >= len(arrived), "all of them")
            left = overlaid(received)
    finally:
        rig.switch.ipr.link("del", index=rig.switch.index(overlay))
        rig.switch.ipr.addr("del", index=rig.switch.index("span0"), address=VTEP, prefixlen=24)
    assert checksums(list(map(inner, arrived))) == {BAD}
    assert checksums(list(map(inner, left))) == {GOOD}
    assert sorted(without_checksum(inner(frame)) for frame in left) == sorted(
        without_checksum(inner(frame)) for frame in arrived
    )
    assert sorted(frame[:OUTER] for frame in left) == sorted(frame[:OUTER] for frame in arrived)
    assert rig.tool.status().drops == before.drops


def overlays_pbx(frame: bytes) -> bool:
    return is_outer(frame) and to_pbx(frame) and to_pbx(inner(frame))


def overlaid(tap: Tap) -> list[bytes]:
    return list(filter(overlays_pbx, tap.frames()))


def has_sctp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_sctp(), reason="this kernel has no SCTP")
@pytest.mark.parametrize("pbx", [PBX, PBX6], ids=["IPv4", "IPv6"])
def test_checksums_of_sctp_leave_complete(rig: Rig, pbx: str) -> None:
    """The first packet of an association."""
    family = socket.AF_INET6 if ":" in pbx else socket.AF_INET
    with (
        Tap(rig.collector, "eth1", to_pbx) as tap,
        Tap(rig.t_meter, "eth0", wraps_to_pbx) as wire,
        at(rig.switch, "span0", pbx),
    ):
        with rig.switch.enter():
            calling = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
        with calling:
            calling.setblocking(False)
            assert calling.connect_ex((pbx, PORT)) == errno.EINPROGRESS
            arrived, left = tap.wait(1)[0], inner(wire.wait(1)[0])
    start = 54 if ":" in pbx else 34
    assert arrived[start + 8 : start + 12] == bytes(4)
    assert left == arrived[: start + 8] + crc32c(arrived[start:]).to_bytes(4, "big") + arrived[start + 12 :]


def to_pbx(frame: bytes) -> bool:
    """Not the neighbour discovery of the machines."""
    return frame[:6].hex(":") == mirrored.PBX


def wraps_to_pbx(packet: bytes) -> bool:
    return is_outer(packet) and to_pbx(inner(packet))


@contextmanager
def at(machine: Namespace, ifname: str, pbx: str) -> Iterator[None]:
    """`machine` is a phone behind `ifname`, and believes the PBX to be there."""
    phone, length = (PHONE6, 64) if ":" in pbx else (PHONE, 24)
    index = machine.index(ifname)
    machine.sysctl(f"net.ipv6.conf.{ifname}.accept_dad", 0)
    machine.sysctl(f"net.ipv6.conf.{ifname}.disable_ipv6", int(":" not in pbx))
    machine.address(ifname, f"{phone}/{length}")
    machine.neighbour(ifname, pbx, mirrored.PBX)
    try:
        yield
    finally:
        machine.ipr.addr("del", index=index, address=phone, prefixlen=length)
        machine.sysctl(f"net.ipv6.conf.{ifname}.disable_ipv6", 1)


def speak(machine: Namespace, pbx: str, sizes: tuple[int, ...] = SIZES) -> None:
    """UDP of these sizes, and the first packet of a TCP connection, from plain sockets."""
    family = socket.AF_INET6 if ":" in pbx else socket.AF_INET
    with machine.enter():
        talking = socket.socket(family, socket.SOCK_DGRAM)
        calling = socket.socket(family, socket.SOCK_STREAM)
    with talking, calling:
        for size in sizes:
            talking.sendto(bytes([7]) * size, (pbx, PORT))
        calling.setblocking(False)
        assert calling.connect_ex((pbx, PORT)) == errno.EINPROGRESS


def checksums(frames: list[bytes]) -> set[str]:
    seen = fields(frames, ["udp.checksum.status", "tcp.checksum.status"])
    return {udp or tcp for udp, tcp in seen}


def without_checksum(frame: bytes) -> bytes:
    transport = 54 if frame[12:14] == b"\x86\xdd" else 34
    protocol = frame[20] if transport == 54 else frame[23]
    at = transport + (TCP_CHECKSUM if protocol == socket.IPPROTO_TCP else UDP_CHECKSUM)
    return frame[:at] + frame[at + 2 :]


@pytest.mark.parametrize("path", ["span", "vxlan"])
@pytest.mark.parametrize("pbx", [PBX, PBX6], ids=["IPv4", "IPv6"])
def test_a_file_sent_in_superframes_is_complete_at_the_t_meter(path: str, pbx: str) -> None:
    """At tc: XDP at a veth keeps its peer from making any."""
    with on_link("tc", offload=True) as rig:
        rig.t_meter.features("eth0", {"rx-gro": False})
        phone, server = telephony(rig.lab, rig.switch)
        target, arrival = "span0", "eth1"
        source = rig.span()
        if path == "vxlan":
            rig.switch.link("mirror", rig.collector, "eth2", mtu=1600, offload=True)
            rig.switch.address("mirror", f"{MIRROR}/24")
            rig.collector.address("eth2", f"{MIRRORED_TO}/24")
            target, arrival = vxlan(rig.switch, 17, vxlan_group=MIRRORED_TO, vxlan_local=MIRROR), "eth2"
            source = {"name": "cloud", "type": "vxlan", "interface": "eth2", "hook": "tc", "vni": VNI}
        for port in PORTS:
            rig.switch.mirror(port, target)
        rig.tool.apply([source])
        with rig.tap() as tap, Tap(rig.collector, arrival) as at_tc:
            transfer(phone, server, pbx, PORT, FILE)
            wait_for(lambda: stream(tap.frames()) == FILE, "the whole file in the mirrored frames")
            frames = [frame for frame in tap.frames() if TCP in Ether(frame)]
            assert max(map(len, at_tc.frames())) > 2 * mirrored.LARGEST
        assert max(map(len, frames)) <= mirrored.LARGEST
        assert checksums(frames) == {GOOD}
        status = rig.tool.status()
        assert (status.drops, status.frames) == ({}, status.sent)


PORTS = ("port1", "port2")


def telephony(lab: Lab, switch: Namespace) -> tuple[Namespace, Namespace]:
    """A phone and a PBX on a virtual switch, which leaves large segments whole."""
    ends = []
    for port, name, addresses in zip(PORTS, ("phone", "pbx"), ((PHONE, PHONE6), (PBX, PBX6)), strict=True):
        end = lab.namespace(name, ipv6=True)
        end.link("eth0", switch, port, offload=True)
        end.address("eth0", f"{addresses[0]}/24")
        end.address("eth0", f"{addresses[1]}/64")
        ends.append(end)
    switch.bridge("br0", PORTS)
    return ends[0], ends[1]


def stream(frames: list[bytes]) -> bytes:
    """What the phone said."""
    packets = [packet for packet in map(Ether, frames) if TCP in packet and packet[TCP].dport == PORT]
    return put_together(
        (packet[TCP].seq, bool(packet[TCP].flags.S), bytes(packet[TCP].payload)[: payload_length(packet)])
        for packet in packets
    )


def payload_length(packet: Packet) -> int:
    """Without the padding of short frames."""
    behind_ip = packet[IPv6].plen if IPv6 in packet else packet[IP].len - packet[IP].ihl * 4
    return int(behind_ip - packet[TCP].dataofs * 4)
