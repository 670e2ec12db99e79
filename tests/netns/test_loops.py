"""A SPAN port that mirrors the collector's own uplink: no frame goes round twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from collector.operate.lab import Lab, Namespace, wait_for
from tests.lib import mirrored
from tests.lib.rig import (
    COLLECTOR,
    STATUS_HOOK,
    T_METER,
    VNI,
    Figures,
    Rig,
    collector,
    take_xdp_frames,
    vxlan,
)
from tests.lib.rig6 import COLLECTOR6, T_METER6, is_outer6, receiver6
from tests.lib.tap import Tap, is_outer, send

ENDS = {4: (COLLECTOR, T_METER), 6: (COLLECTOR6, T_METER6)}
OTHER_COLLECTOR = {4: "192.0.2.77", 6: "2001:db8:1::77"}
FITS = {4: 1464, 6: 1444}  # bytes of a frame whose outer packet is whole
PHONES = 40  # frames of a phone, of which some leave in fragments
TAGS: dict[str, list[Packet]] = {
    "untagged": [],
    "a VLAN tag": [Dot1Q(vlan=20, prio=5)],
    "a priority tag": [Dot1Q(vlan=0)],
    "two tags": [Dot1AD(vlan=30), Dot1Q(vlan=20)],
    "three tags": [Dot1AD(vlan=30), Dot1Q(vlan=20), Dot1Q(vlan=21)],
    "eight tags": [Dot1AD(vlan=30), *(Dot1Q(vlan=20 + n) for n in range(7))],
}
STILL = 4  # readings one after the other that are the same


@dataclass
class Switch:
    """All that enters its ports `up` (the collector's eth0), `tm` and `phone` is mirrored to the collector's
    eth1: the frames that it sends, too."""

    rig: Rig
    version: int
    phone: Namespace


@contextmanager
def everything_mirrored(hook: str, version: int) -> Iterator[Switch]:
    with Lab() as lab:
        names = ("switch", "collector", "tmeter", "phone")
        switch, here, t_meter, phone = (lab.namespace(name, ipv6=name in names[1:3]) for name in names)
        switch.link("span0", here, "eth1")
        for machine, port in ((here, "up"), (t_meter, "tm"), (phone, "phone")):
            machine.link("eth0", switch, port)
        for ends, length in ((ENDS[4], 24), (ENDS[6], 64)):
            here.address("eth0", f"{ends[0]}/{length}")
            t_meter.address("eth0", f"{ends[1]}/{length}")
        switch.bridge("br0", ["up", "tm", "phone"])
        take_xdp_frames(switch, "up")
        for port in ("up", "tm", "phone"):
            switch.mirror(port, "span0")
        if version == 6:
            receiver6(t_meter, T_METER6)
        else:
            vxlan(t_meter, VNI)
        with collector(here) as tool:
            rig = Rig(lab, hook, switch, tool, t_meter)
            tool.apply([rig.span()], address=ENDS[version][1])
            yield Switch(rig, version, phone)


@pytest.fixture(scope="module", params=list(itertools.product(["xdp", "tc"], [4, 6])), ids=str)
def switch(request: pytest.FixtureRequest) -> Iterator[Switch]:
    with everything_mirrored(*request.param) as switch:
        yield switch


def test_what_the_collector_sends_comes_back_once_and_is_not_sent_again(switch: Switch) -> None:
    """Each outer packet, and each fragment of one, is counted as a loop, and that is the end of it."""
    rig = switch.rig
    frames = list(mirrored.numbered(PHONES, (60, 214, 1400, 1514)))
    with rig.tap() as tap, Tap(rig.t_meter, "eth0", to_t_meter) as wire:
        before, already = reading(rig, wire)
        send(switch.phone, "eth0", frames)
        wait_for(lambda: len(calls(tap)) >= PHONES, "all frames")
        after, packets = reading(rig, wire)
        assert sorted(calls(tap)) == sorted(frames)
    loops, packets = loops_in(after) - loops_in(before), packets - already
    fragmented = sum(len(frame) > FITS[switch.version] for frame in frames)
    noise = packets - PHONES - fragmented  # ARP and neighbour discovery of the machines, mirrored too
    assert 0 <= noise < PHONES
    assert (loops, after.sent - before.sent) == (packets, PHONES + noise)
    assert after.drops.keys() == {"loop"}
    assert after.source()["hook"] == STATUS_HOOK[rig.hook]


def reading(rig: Rig, wire: Tap) -> tuple[Figures, int]:
    """The status and the number of packets on the wire, of a moment at which neither was changing: a packet
    that was counted may still be on its way."""
    seen: list[tuple[int, int]] = []
    while True:
        status, packets = rig.tool.status(), len(wire.frames())
        seen.append((status.frames, packets))
        if len(seen) >= STILL and len(set(seen[-STILL:])) == 1:
            return status, packets


def to_t_meter(frame: bytes) -> bool:
    """The phone's own frames come by here, too: no switch knows where the PBX is."""
    if is_outer(frame):
        return frame[30:34] == ip_address(T_METER).packed
    return is_outer6(frame) and frame[38:54] == ip_address(T_METER6).packed


def loops_in(status: Figures) -> int:
    return status.drops.get("loop", 0)


def calls(tap: Tap) -> list[bytes]:
    macs = bytes(Ether(src=mirrored.PHONE, dst=mirrored.PBX))[:12]
    return [frame for frame in tap.frames() if frame.startswith(macs)]


@pytest.mark.parametrize("sender", ["ours", "another collector's"])
def test_a_packet_to_the_t_meter_is_a_loop_whatever_it_wears(switch: Switch, sender: str) -> None:
    source = ENDS[switch.version][0] if sender == "ours" else OTHER_COLLECTOR[switch.version]
    packets = [
        bytes(link(tags) / packet)
        for tags in TAGS.values()
        for packet in whole_and_in_fragments(source, ENDS[switch.version][1])
    ]
    before = switch.rig.tool.status()
    switch.rig.send(*packets)
    after = switch.rig.tool.settled(before.frames + len(packets))
    assert loops_in(after) - loops_in(before) >= len(packets)
    assert after.drops.keys() == {"loop"}
    assert after.frames - before.frames - len(packets) < len(packets), "it goes round"


def link(tags: list[Packet]) -> Packet:
    layers = Ether(src=mirrored.PHONE, dst=mirrored.PBX)
    for tag in tags:
        layers = layers / tag
    return layers


def whole_and_in_fragments(source: str, to: str) -> Iterator[Packet]:
    """An outer packet; then the first fragment and the last of one."""
    udp = UDP(sport=50000, dport=4789) / VXLAN(flags=8, vni=VNI) / Raw(next(mirrored.numbered(1, (214,))))
    payload = bytes(udp)
    if ":" in to:
        yield IPv6(src=source, dst=to) / udp
        yield IPv6(src=source, dst=to) / IPv6ExtHdrFragment(nh=17, id=7, m=1) / Raw(payload[:64])
        yield IPv6(src=source, dst=to) / IPv6ExtHdrFragment(nh=17, id=7, offset=8) / Raw(payload[64:])
    else:
        yield IP(src=source, dst=to) / udp
        yield IP(src=source, dst=to, proto=17, flags="MF") / Raw(payload[:64])
        yield IP(src=source, dst=to, proto=17, frag=8) / Raw(payload[64:])


def test_what_only_looks_like_a_loop_is_sent(switch: Switch) -> None:
    """VXLAN to others, other ports of the t-meter, and what the t-meter answers."""
    ip, (mine, theirs) = (IP if switch.version == 4 else IPv6), ENDS[switch.version]
    vxlan_packet = UDP(sport=50000, dport=4789) / VXLAN(flags=8, vni=VNI) / Raw(bytes(60))
    likes = [
        ip(src=mine, dst=OTHER_COLLECTOR[switch.version]) / vxlan_packet,
        ip(src=mine, dst=theirs) / UDP(sport=50000, dport=4790) / Raw(bytes(60)),
        ip(src=theirs, dst=mine) / UDP(sport=4789, dport=50000) / Raw(bytes(60)),
        ip(src=mine, dst=theirs) / TCP(sport=50000, dport=4789),
    ]
    frames = [bytes(link(tags) / packet) for tags in TAGS.values() for packet in likes]
    with switch.rig.tap() as tap:
        switch.rig.send(*frames)
        wait_for(lambda: len(calls(tap)) >= len(frames), "all of them")
        assert sorted(calls(tap)) == sorted(frames)


def test_what_is_behind_more_tags_than_are_looked_behind_is_dropped(switch: Switch) -> None:
    """It may be a loop; at tc one of the tags is beside the packet."""
    packets = [
        bytes(link([Dot1AD(vlan=30), *(Dot1Q(vlan=20 + n) for n in range(tags - 1))]) / packet)
        for tags in (9, 10, 12)
        for packet in whole_and_in_fragments(*ENDS[switch.version])
    ]
    before = switch.rig.tool.status()
    switch.rig.send(*packets)
    after = switch.rig.tool.settled(before.frames + len(packets))
    assert after.drops.get("malformed", 0) - before.drops.get("malformed", 0) == len(packets)
    assert after.sent - before.sent == after.frames - before.frames - len(packets) - (
        loops_in(after) - loops_in(before)
    )
