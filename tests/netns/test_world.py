"""What the world does to the collector, and what the collector must not do to the world."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from collector.operate.lab import Namespace, wait_for
from tests.lib import mirrored
from tests.lib.rig import COLLECTOR, GATEWAY, T_METER, Rig, behind_gateway, on_link
from tests.lib.tap import Tap, send

HOOKS = pytest.mark.parametrize("hook", ["xdp", "tc"])
NEW_MAC = "02:00:00:00:0f:02"
STRANGER = "198.51.100.77"
NUD_FAILED = 0x20


@pytest.fixture(scope="module", params=["xdp", "tc"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    with on_link(request.param) as rig:
        rig.apply()
        yield rig


def snmp(machine: Namespace, protocol: str, counter: str) -> int:
    with machine.enter():
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith(f"{protocol}:"))
    return int(dict(zip(names, values, strict=True))[counter])


def is_icmp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_ICMP


def test_a_mirrored_ping_to_the_collector_itself_is_not_answered(rig: Rig) -> None:
    """Whatever MAC address it is for, and also where it takes the slower way (it is oversize)."""
    macs = [rig.collector.mac("eth1"), rig.collector.mac("eth0"), mirrored.BROADCAST, mirrored.PBX]
    pings = [
        bytes(Ether(src=mirrored.PHONE, dst=mac) / IP(src=source, dst=COLLECTOR) / ICMP() / Raw(b"p" * size))
        for mac in macs
        for source in (mirrored.PHONE_IP, T_METER)
        for size in (56, 1472)
    ]
    echoes = snmp(rig.collector, "Icmp", "InEchos"), snmp(rig.collector, "Icmp", "OutEchoReps")
    with rig.tap() as tap, Tap(rig.switch, "span0") as back, Tap(rig.t_meter, "eth0", is_icmp) as out:
        rig.send(*pings)
        assert sorted(tap.wait(len(pings))) == sorted(pings)
        assert back.frames() == []
        assert out.frames() == []
    assert (snmp(rig.collector, "Icmp", "InEchos"), snmp(rig.collector, "Icmp", "OutEchoReps")) == echoes


def test_a_mirrored_frame_for_a_local_socket_is_not_delivered(rig: Rig) -> None:
    call = Ether(src=mirrored.PHONE, dst=rig.collector.mac("eth1")) / IP(src=mirrored.PHONE_IP, dst=COLLECTOR)
    frames = [bytes(call / UDP(sport=5060, dport=5060) / Raw(b"s" * size)) for size in (100, 1472)]
    with rig.collector.enter():
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listening, rig.tap() as tap:
        listening.bind(("0.0.0.0", 5060))
        listening.setblocking(False)
        rig.send(*frames)
        assert tap.wait(2) == frames
        with pytest.raises(BlockingIOError):
            listening.recv(2000)


def test_a_frame_on_its_way_to_the_t_meter_is_dropped_as_a_loop(rig: Rig) -> None:
    before = rig.tool.status()
    macs = Ether(src=mirrored.PHONE, dst=mirrored.PBX)
    other_port = macs / IP(src=COLLECTOR, dst=T_METER) / UDP(dport=4790)
    with rig.tap() as tap:
        rig.send(mirrored.to_t_meter(), bytes(other_port))
        assert tap.wait(1) == [bytes(other_port)]
    after = rig.tool.status()
    assert after.drops.get("loop", 0) - before.drops.get("loop", 0) == 1
    assert (after.frames - before.frames, after.sent - before.sent) == (2, 1)


def test_frames_that_a_pulled_cable_costs_are_counted_and_others_follow_when_it_is_back(rig: Rig) -> None:
    before = rig.tool.status()
    lost = list(mirrored.numbered(100, (60, 214, 1514), flows=10))
    rig.t_meter.down("eth0")
    try:
        wait_for(lambda: not carrier(rig.collector, "eth0"), "the link to go down")
        rig.send(*lost)
        during = rig.tool.status()
    finally:
        rig.t_meter.up("eth0")
    wait_for(lambda: carrier(rig.collector, "eth0"), "the link to come back")
    assert during.frames - before.frames == 100
    assert during.sent == before.sent
    assert during.drops.get("egress", 0) - before.drops.get("egress", 0) == 100
    back = list(mirrored.numbered(100, (60, 214, 1514), flows=10))
    with rig.tap() as tap:
        rig.send(*back)
        assert sorted(tap.wait(100)) == sorted(back)


def carrier(machine: Namespace, ifname: str) -> bool:
    return bool(machine.ipr.get_links(machine.index(ifname))[0].get_attr("IFLA_CARRIER"))


def test_frames_that_the_egress_nic_refuses_are_counted() -> None:
    """XDP only: a veth whose peer stops polling takes no redirected frames any more."""
    frames = list(mirrored.numbered(1000, (60, 214), flows=10))
    with on_link("xdp") as rig:
        rig.apply()
        rig.t_meter.features("eth0", {"rx-gro": False})
        rig.send(*frames)
        status = rig.tool.settled(1000)
        assert status.frames == 1000
        assert status.drops == {"egress": 1000}
        assert status.sent == 0


@HOOKS
def test_frames_wait_for_the_neighbour_as_long_as_the_kernel_asks(hook: str) -> None:
    """Whatever is in them; and when it never answers they are counted."""
    kinds = mirrored.well_formed()
    frames = [*kinds.values(), *(kinds[name].ljust(1514, b"+") for name in ("unicast", "broadcast", "qinq"))]
    with on_link(hook) as rig:
        rig.t_meter.sysctl("net.ipv4.conf.all.arp_ignore", 8)  # answers nothing
        for key, value in (("retrans_time_ms", 300), ("mcast_solicit", 4)):  # gives up after 1.2 s, not 3
            rig.collector.sysctl(f"net.ipv4.neigh.eth0.{key}", value)
        rig.apply()
        assert rig.tool.status().raw["t_meters"][0]["up"] is False
        with rig.tap() as tap:
            wait_for(lambda: neighbour(rig.collector, T_METER).state == NUD_FAILED, "ARP to give up")
            rig.send(*frames)
            wait_for(lambda: rig.tool.status().drops == {"neighbour": len(frames)}, "all frames counted")
            assert rig.tool.status().sent == 0

            wait_for(lambda: neighbour(rig.collector, T_METER).state == NUD_FAILED, "ARP to give up")
            rig.send(*frames)
            rig.t_meter.sysctl("net.ipv4.conf.all.arp_ignore", 0)
            assert tap.wait(len(frames)) == frames
        status = rig.tool.status()
        assert (status.sent, status.drops) == (len(frames), {"neighbour": len(frames)})


@HOOKS
def test_a_gateway_that_changes_its_mac_address_is_followed(hook: str) -> None:
    """By the kernel: no process of ours is there."""
    first, then = list(mirrored.numbered(50, (60, 1514))), list(mirrored.numbered(50, (60, 1514), first=50))
    with behind_gateway(hook) as rig:
        assert rig.gateway is not None
        rig.apply()
        with rig.tap() as tap:
            rig.send(*first)
            assert sorted(tap.wait(50)) == sorted(first)
            rig.gateway.ipr.link("set", index=rig.gateway.index("eth0"), address=NEW_MAC)
            send(rig.gateway, "eth0", [gratuitous_arp()])
            wait_for(lambda: neighbour(rig.collector, GATEWAY).mac == NEW_MAC, "its new address")
            assert processes_of(rig.tool.instance) == []
            rig.send(*then)
            assert sorted(tap.wait(100)) == sorted(first + then)
        assert rig.tool.status().drops == {}


def gratuitous_arp() -> bytes:
    return bytes(
        Ether(src=NEW_MAC, dst=mirrored.BROADCAST)
        / ARP(op="who-has", hwsrc=NEW_MAC, psrc=GATEWAY, hwdst="00:00:00:00:00:00", pdst=GATEWAY)
    )


def processes_of(instance: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):  # has just ended
            continue
        if instance.encode() in words:
            found.append(str(file))
    return found


@HOOKS
def test_the_collector_does_not_become_a_router(hook: str) -> None:
    with behind_gateway(hook) as rig:
        assert rig.gateway is not None
        rig.apply()
        stray = bytes(
            Ether(src=rig.gateway.mac("eth0"), dst=rig.collector.mac("eth0"))
            / IP(src=GATEWAY, dst=STRANGER) / UDP(sport=1, dport=2) / Raw(b"not for you")
        )  # fmt: skip
        assert routed(rig.gateway, stray) is False
        assert snmp(rig.collector, "Ip", "ForwDatagrams") == 0
        rig.collector.sysctl("net.ipv4.conf.eth0.forwarding", 1)  # as a proof that it would be seen
        assert routed(rig.gateway, stray) is True


def routed(gateway: Namespace, stray: bytes) -> bool:
    """Whether the packet comes back before the answer to a ping that follows it."""
    ping = Ether(stray[6:12] + stray[:6] + b"\x08\x00")
    ping.src, ping.dst = ping.dst, ping.src
    with Tap(gateway, "eth0") as tap:
        send(gateway, "eth0", [stray, bytes(ping / IP(src=GATEWAY, dst=COLLECTOR) / ICMP())])
        wait_for(lambda: any(frame[23] == 1 and frame[34] == 0 for frame in tap.frames()), "the echo reply")
        return any(b"not for you" in frame[42:] and frame[23] == socket.IPPROTO_UDP for frame in tap.frames())


class Entry:
    def __init__(self, state: int, mac: str) -> None:
        self.state = state
        self.mac = mac


def neighbour(machine: Namespace, address: str) -> Entry:
    for message in machine.ipr.get_neighbours(family=socket.AF_INET):
        if message.get_attr("NDA_DST") == address:
            return Entry(message["state"], str(message.get_attr("NDA_LLADDR")))
    return Entry(0, "")
