"""VLAN tags: the RSPAN VLAN's is taken off, those of the mirrored frame stay or go as the file says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from tests.lib import mirrored
from tests.lib.rig import STATUS_HOOK, VNI, Rig, on_link, vxlan
from tests.lib.tap import Tap, inner, is_outer, send
from tests.lib.tshark import fields

RSPAN = 100
STRIPPED_VNI = 13
LINK = Ether(src=mirrored.PHONE, dst=mirrored.PBX)
CALL = IP(src=mirrored.PHONE_IP, dst=mirrored.PBX_IP) / UDP(sport=5060, dport=5060) / Raw(b"r" * 120)
CALL6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5060, dport=5060) / Raw(b"r" * 120)
LARGE = IP(src=mirrored.PHONE_IP, dst=mirrored.PBX_IP) / UDP(sport=9, dport=9) / Raw(b"L" * 1472)
_rspan, _voice, _service = Dot1Q(vlan=RSPAN, prio=3), Dot1Q(vlan=20, prio=5), Dot1AD(vlan=30)

# The tags as they arrive, and as they leave.
TAGS: dict[str, tuple[list[Packet], list[Packet]]] = {
    "none": ([], []),
    "the RSPAN VLAN's": ([_rspan], []),
    "and one behind it": ([_rspan, _voice], [_voice]),
    "and two behind it": ([_rspan, _service, _voice], [_service, _voice]),
    "the same twice": ([_rspan, _rspan], [_rspan]),
    "as a service tag": ([Dot1AD(vlan=RSPAN)], []),
    "another VLAN's": ([_voice], [_voice]),
    "only a priority": ([Dot1Q(vlan=0, prio=6)], [Dot1Q(vlan=0, prio=6)]),
    "the RSPAN VLAN's, but not outermost": ([_voice, _rspan], [_voice, _rspan]),
    "the highest VLAN": ([Dot1Q(vlan=4094)], [Dot1Q(vlan=4094)]),
}
INSIDES: dict[str, Packet] = {
    "IPv4": CALL,
    "IPv6": CALL6,
    "ARP": ARP(psrc=mirrored.PHONE_IP, pdst=mirrored.PBX_IP, hwsrc=mirrored.PHONE),
    "oversize": LARGE,
}


@pytest.fixture(scope="module", params=["xdp", "tc"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """eth1 takes the RSPAN tag off, eth2 every tag."""
    with on_link(request.param, span_mtu=1520) as rig:
        rig.switch.link("span1", rig.collector, "eth2", mtu=1520)
        vxlan(rig.t_meter, STRIPPED_VNI)
        strip = {"name": "all", "interface": "eth2", "vni": STRIPPED_VNI, "vlan": "strip"}
        rig.tool.apply([rig.span(rspan_vlan=RSPAN), rig.span(**strip, rspan_vlan=RSPAN)])
        yield rig


def frame(tags: list[Packet], inside: Packet) -> bytes:
    layers = LINK
    for tag in tags:
        layers = layers / tag
    return bytes(layers / inside)


@pytest.mark.parametrize("kind", INSIDES)
def test_the_rspan_tag_is_taken_off_and_all_others_stay(rig: Rig, kind: str) -> None:
    inside = INSIDES[kind]
    before = rig.tool.status()
    with rig.tap() as tap:
        for number, (name, (arriving, leaving)) in enumerate(TAGS.items(), start=1):
            rig.send(frame(arriving, inside))
            assert (name, tap.wait(number)[-1].hex()) == (name, frame(leaving, inside).hex())
    after = rig.tool.status()
    received = sum(len(frame(arriving, inside)) for arriving, _leaving in TAGS.values())
    assert after.source()["hook"] == STATUS_HOOK[rig.hook]
    assert after.source()["bytes"] - before.source()["bytes"] == received
    assert (after.sent - before.sent, after.drops) == (len(TAGS), before.drops)


@pytest.mark.parametrize("kind", INSIDES)
def test_with_strip_all_tags_go(rig: Rig, kind: str) -> None:
    inside = INSIDES[kind]
    with Tap(rig.t_meter, f"vx{STRIPPED_VNI}") as tap:
        for number, (name, (arriving, _leaving)) in enumerate(TAGS.items(), start=1):
            send(rig.switch, "span1", [frame(arriving, inside)])
            assert (name, tap.wait(number)[-1].hex()) == (name, frame([], inside).hex())


def test_tshark_finds_the_calls_vlan_and_not_the_mirrors(rig: Rig) -> None:
    with Tap(rig.t_meter, "eth0", is_outer) as wire:
        rig.send(frame([_rspan, _voice], CALL))
        outer = wire.wait(1)
    assert fields(outer, ["vxlan.vni"]) == [(str(VNI),)]
    seen = fields(map(inner, outer), ["vlan.id", "vlan.priority", "ip.src", "udp.checksum.status"])
    assert seen == [("20", "5", mirrored.PHONE_IP, "1")]


def test_both_directions_and_all_tags_of_a_flow_have_one_source_port(rig: Rig) -> None:
    """The tag that is taken off has no part in it."""
    back = CALL.copy()
    back.src, back.dst = CALL.dst, CALL.src
    with Tap(rig.t_meter, "eth0", is_outer) as wire:
        rig.send(*(frame(tags, way) for tags in ([], [_rspan], [_rspan, _voice]) for way in (CALL, back)))
        ports = fields(wire.wait(6), ["udp.srcport"])
    assert len(set(ports)) == 1
