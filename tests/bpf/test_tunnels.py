"""Frames in each kind of tunnel: the mirror's own wrapping off, ours on, at both hooks."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet6 import IPv6ExtHdrHopByHop

from collector.datapath.settings import SourceType, VniRule
from tests.lib.check import assert_dropped, assert_left_to_tc, assert_passed, assert_sent
from tests.lib.datapath import Datapath, Hook, Site
from tests.lib.samples import ANYTHING, LOOPS, sip, sized, tagged
from tests.lib.tunnels import (
    BARE4,
    BARE6,
    CARRIERS,
    GATEWAY_OPTIONS,
    NO_VNI,
    OVERLAYS,
    SESSION,
    TAG_END,
    TAG_PADDING,
    TAGS,
    TEB,
    VNI,
    WRAPPED,
    Payload,
    carried,
    erspan1,
    erspan2,
    erspan3,
    from_gateway,
    gateway,
    geneve,
    gre,
    in_udp,
    ipip,
    made_up,
    tzsp,
    vxlan,
)

TUNNELS = [kind for kind in SourceType if kind != SourceType.SPAN]


def loaded(site: Site, kind: SourceType) -> Datapath:
    return site.load(site.tunnel(kind, "mirror"))


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", WRAPPED)
def test_unwrapped(site: Site, hook: Hook, name: str, carrier: str) -> None:
    wrapped = WRAPPED[name]
    outcome = loaded(site, wrapped.kind).run(hook, carried(wrapped.payload, carrier))
    assert_sent(outcome, "mirror", wrapped.frame, wrapped.vni, received=wrapped.received)


WRAPS: dict[str, tuple[SourceType, Any, int]] = {
    "VXLAN": (SourceType.VXLAN, vxlan, VNI),
    "GENEVE": (SourceType.GENEVE, lambda frame: geneve(frame, TEB), VNI),
    "gateway": (SourceType.GENEVE, lambda frame: from_gateway(gateway(frame)), VNI),
    "GRE": (SourceType.GRE, lambda frame: gre(frame, TEB), NO_VNI),
    "ERSPAN I": (SourceType.ERSPAN, erspan1, 0),
    "ERSPAN II": (SourceType.ERSPAN, erspan2, SESSION),
    "ERSPAN III": (SourceType.ERSPAN, erspan3, SESSION),
    "TZSP": (SourceType.TZSP, tzsp, NO_VNI),
}
FRAMES = {
    "14 bytes": ANYTHING["Ethernet header alone"],
    "ARP": ANYTHING["ARP"],
    "spanning tree": ANYTHING["spanning tree"],
    "three tags": ANYTHING["3 VLAN tags"],
    "1,464 bytes": sized(1464),
    **{f"overlay: {name}": frame for name, frame in OVERLAYS.items()},
}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("wrap", WRAPS)
def test_whatever_is_inside_is_sent_as_it_is(site: Site, hook: Hook, wrap: str, frame: str) -> None:
    """An overlay that was mirrored too: only the mirror's own wrapping is taken off."""
    kind, build, vni = WRAPS[wrap]
    packet = carried(build(FRAMES[frame]))
    assert_sent(loaded(site, kind).run(hook, packet), "mirror", FRAMES[frame], vni)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_at_a_mirror_port_is_left_alone(site: Site, hook: Hook, name: str) -> None:
    assert_sent(site.load(site.span()).run(hook, OVERLAYS[name]), "pbx", OVERLAYS[name], 12)


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_without_ethernet_is_left_alone(site: Site, hook: Hook, name: str) -> None:
    """VXLAN in GENEVE as well, if no gateway has put it there."""
    inner = OVERLAYS[name][14:]
    outcome = loaded(site, SourceType.IPIP).run(hook, carried(ipip(inner)))
    assert_sent(outcome, "mirror", made_up(inner), NO_VNI, received=len(inner))
    ethertype = 0x0800 if inner[0] >> 4 == 4 else 0x86DD
    outcome = loaded(site, SourceType.GENEVE).run(hook, carried(geneve(inner, ethertype)))
    assert_sent(outcome, "mirror", made_up(inner), VNI, received=len(inner))


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("name", LOOPS)
def test_loops(site: Site, hook: Hook, wrap: str, name: str) -> None:
    kind, build, _ = WRAPS[wrap]
    outcome = loaded(site, kind).run(hook, carried(build(LOOPS[name])))
    assert_dropped(outcome, "mirror", len(LOOPS[name]), "loop")


@pytest.mark.parametrize("name", ["outer packet", "behind IP options", "later fragment"])
def test_loops_without_ethernet(site: Site, hook: Hook, name: str) -> None:
    inner = LOOPS[name][14:]
    for kind, payload in (
        (SourceType.IPIP, ipip(inner)),
        (SourceType.GRE, gre(inner, 0x0800)),
        (SourceType.GENEVE, geneve(inner, 0x0800)),
        (SourceType.ERSPAN, erspan3(inner, ft=2)),
    ):
        outcome = loaded(site, kind).run(hook, carried(payload))
        assert_dropped(outcome, "mirror", len(inner), "loop")


NOT_FROM_A_GATEWAY: dict[str, tuple[bytes, bytes]] = {  # what is in GENEVE, and GENEVE's options
    "another port": (gateway(sip(), dport=4790), GATEWAY_OPTIONS),
    "DNS": (gateway(sip(), dport=53), GATEWAY_OPTIONS),
    "no options": (gateway(sip()), b""),
    "another class of option": (gateway(sip()), bytes.fromhex("01070102") + GATEWAY_OPTIONS[4:]),
    "the class not in the first option": (gateway(sip()), bytes.fromhex("01070100") + GATEWAY_OPTIONS),
}


@pytest.mark.parametrize("name", NOT_FROM_A_GATEWAY)
def test_an_ip_packet_that_is_not_a_gateways_vxlan(site: Site, hook: Hook, name: str) -> None:
    inner, options = NOT_FROM_A_GATEWAY[name]
    outcome = loaded(site, SourceType.GENEVE).run(hook, carried(geneve(inner, 0x0800, options)))
    assert_sent(outcome, "mirror", made_up(inner), VNI, received=len(inner))


@pytest.mark.parametrize("version", [4, 6])
def test_a_gateways_frame_ends_where_its_udp_length_says(site: Site, version: int) -> None:
    """The rest is no part of it, as behind any other packet."""
    datapath = site.load_fresh(site.tunnel(SourceType.GENEVE, "mirror"))
    packet = carried(from_gateway(gateway(sip(), version, len=16 + len(sip()) - 7)))
    assert_left_to_tc(datapath, packet)
    assert_sent(datapath.run("tc", packet), "mirror", sip()[:-7], VNI)
    assert_left_to_tc(datapath, carried(from_gateway(gateway(sip(), version))))


TAGGED = sip(tagged(2))


@pytest.mark.parametrize("wrap", WRAPS)
def test_inner_tags_are_stripped(site: Site, hook: Hook, wrap: str) -> None:
    kind, build, vni = WRAPS[wrap]
    outcome = site.load(*site.one_of_each(strip_vlan=True)).run(hook, carried(build(TAGGED)))
    assert_sent(outcome, kind.name.lower(), sip(), vni, received=len(TAGGED))


def test_nothing_to_strip_from_a_made_up_header(site: Site, hook: Hook) -> None:
    datapath = site.load(*site.one_of_each(strip_vlan=True))
    outcome = datapath.run(hook, carried(ipip(BARE4)))
    assert_sent(outcome, "ipip", made_up(BARE4), NO_VNI, received=len(BARE4))


# What is not taken

MALFORMED: dict[str, tuple[SourceType, Payload]] = {
    "GENEVE version 1": (SourceType.GENEVE, geneve(sip(), TEB, version=1)),
    "GENEVE options beyond the end": (SourceType.GENEVE, geneve(b"", TEB, optionlen=63)),
    "GENEVE, IP of version 5": (SourceType.GENEVE, geneve(b"\x55" + bytes(40), 0x0800)),
    "GENEVE, nothing inside": (SourceType.GENEVE, geneve(b"", TEB)),
    "GENEVE, no IP inside": (SourceType.GENEVE, geneve(b"", 0x0800)),
    "gateway, 13 bytes inside": (SourceType.GENEVE, from_gateway(gateway(sip()[:13]))),
    **{
        f"gateway, {what}": (SourceType.GENEVE, from_gateway(gateway(sip(), version, **lengths)))
        for what, version, lengths in (
            ("UDP length beyond IP's", 4, {"len": 17 + len(sip())}),
            ("UDP length beyond IPv6's", 6, {"len": 17 + len(sip())}),
            ("UDP length 0", 4, {"len": 0}),
            ("UDP length of 13 bytes", 4, {"len": 16 + 13}),
            ("IP length beyond the packet", 4, {"ip_length": 37 + len(sip())}),
            ("IPv6 length beyond the packet", 6, {"ip_length": 17 + len(sip())}),
            ("IP length less than UDP's", 4, {"ip_length": 35 + len(sip())}),
            ("IP length less than its header", 4, {"ip_length": 19}),
            ("IPv6 length 0", 6, {"ip_length": 0}),
        )
    },
    "GRE routing": (SourceType.GRE, gre(sip(), TEB, routing_present=1)),
    **{f"GRE version {n}": (SourceType.GRE, gre(sip(), TEB, version=n)) for n in (2, 7)},
    "GRE, 13 bytes inside": (SourceType.GRE, gre(sip()[:13], TEB)),
    "GRE, no IP inside": (SourceType.GRE, gre(b"", 0x0800)),
    "GRE, key cut short": (SourceType.GRE, (47, bytes.fromhex("20006558 0000"))),
    "ERSPAN I, 13 bytes inside": (SourceType.ERSPAN, erspan1(sip()[:13])),
    "ERSPAN I, routing": (SourceType.ERSPAN, erspan1(sip(), routing_present=1)),
    "ERSPAN II that says it is III": (SourceType.ERSPAN, erspan2(sip(), ver=2)),
    "ERSPAN III that says it is II": (SourceType.ERSPAN, erspan3(sip(), ver=1)),
    "ERSPAN III, platform cut short": (SourceType.ERSPAN, erspan3(b"", b"\0" * 7)),
    "ERSPAN III, IP of version 0": (SourceType.ERSPAN, erspan3(bytes(40), ft=2)),
    "TZSP without end tag": (SourceType.TZSP, tzsp(b"", b"".join(TAGS.values()))),
    "TZSP without any tag": (SourceType.TZSP, tzsp(b"", b"")),
    "TZSP, 16 tags before the end": (SourceType.TZSP, tzsp(sip(), TAG_PADDING * 16 + TAG_END)),
    "TZSP, tag beyond the end": (SourceType.TZSP, tzsp(b"", b"\x0a\xff" + bytes(40))),
    "TZSP, tag of 32 bytes": (SourceType.TZSP, tzsp(sip(), b"\x40\x20" + bytes(32) + TAG_END)),
    "TZSP, tag of 255 bytes": (SourceType.TZSP, tzsp(sip(), b"\x40\xff" + b"\x01" * 255 + TAG_END)),
    "TZSP, 512 bytes of tags": (SourceType.TZSP, tzsp(sip(), (b"\x40\x1f" + bytes(31)) * 15 + TAG_END)),
    "TZSP version 2": (SourceType.TZSP, tzsp(sip(), version=2)),
    "TZSP, 13 bytes inside": (SourceType.TZSP, tzsp(sip()[:13])),
    "IPIP of version 5": (SourceType.IPIP, (4, b"\x55" + bytes(40))),
    "IPIP, nothing inside": (SourceType.IPIP, (4, b"")),
}
UNSUPPORTED: dict[str, tuple[SourceType, Payload]] = {
    "GENEVE, MPLS": (SourceType.GENEVE, geneve(sip(), 0x8847)),
    "GRE, MPLS": (SourceType.GRE, gre(sip(), 0x8847)),
    "GRE, keepalive": (SourceType.GRE, gre(b"", 0)),
    "ERSPAN III, 802.11": (SourceType.ERSPAN, erspan3(sip(), ft=3)),
    "TZSP, 802.11": (SourceType.TZSP, tzsp(sip(), encapsulated_protocol=18)),
    "TZSP, keepalive": (SourceType.TZSP, tzsp(b"", b"", type=4, encapsulated_protocol=0)),
    **{f"TZSP of type {n}": (SourceType.TZSP, tzsp(sip(), type=n)) for n in (2, 3, 5, 255)},
    "TZSP, Prism": (SourceType.TZSP, tzsp(sip(), encapsulated_protocol=119)),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", [*MALFORMED, *UNSUPPORTED])
def test_refused(site: Site, hook: Hook, name: str, carrier: str) -> None:
    kind, payload = (MALFORMED | UNSUPPORTED)[name]
    packet = carried(payload, carrier)
    reason = "malformed" if name in MALFORMED else "unsupported"
    assert_dropped(loaded(site, kind).run(hook, packet), "mirror", len(packet), reason)


@pytest.mark.parametrize("kind", [SourceType.GRE, SourceType.IPIP, SourceType.GENEVE])
def test_an_ip_packet_that_only_the_padding_begins(site: Site, hook: Hook, kind: SourceType) -> None:
    payload = {
        SourceType.GRE: gre(b"", 0x0800),
        SourceType.IPIP: (4, b""),
        SourceType.GENEVE: geneve(b"", 0x0800),
    }[kind]
    packet = carried(payload, behind=BARE4)
    assert_dropped(loaded(site, kind).run(hook, packet), "mirror", len(packet), "malformed")


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("behind", [b"\0", bytes(6), b"\xff" * 40], ids=len)
@pytest.mark.parametrize("wrap", WRAPS)
def test_bytes_behind_the_packet_are_trimmed(site: Site, wrap: str, behind: bytes, carrier: str) -> None:
    kind, build, vni = WRAPS[wrap]
    packet = carried(build(sip()), carrier, behind=behind)
    assert_left_to_tc(loaded(site, kind), packet)
    assert_sent(loaded(site, kind).run("tc", packet), "mirror", sip(), vni)


@pytest.mark.parametrize("inner", [BARE4, BARE6], ids=["IPv4", "IPv6"])
def test_bytes_behind_a_packet_without_ethernet_are_trimmed(site: Site, inner: bytes) -> None:
    packet = carried(ipip(inner), behind=bytes(9))
    assert_left_to_tc(loaded(site, SourceType.IPIP), packet)
    outcome = loaded(site, SourceType.IPIP).run("tc", packet)
    assert_sent(outcome, "mirror", made_up(inner), NO_VNI, received=len(inner))


NOT_THE_MIRRORS: dict[str, bytes] = {
    "GRE cut short": carried((47, b"\0\0\x65")),
    "PPTP": carried((47, bytes.fromhex("3081880b 0004 0001 00000007") + b"\xff\x03\x00\x21")),
    "GRE version 1": carried(gre(sip(), TEB, version=1)),
    "GRE version 1, ERSPAN inside": carried(gre(sip(), 0x88BE, version=1), "IPv6"),
    "GENEVE's port by TCP": carried((6, geneve(sip(), TEB)[1])),
    "from the tunnel's port": carried(in_udp(53, sip())),
    "tunnel behind IPv6 options": carried((0, bytes(IPv6ExtHdrHopByHop(nh=47)) + gre(sip(), TEB)[1]), "IPv6"),
    "IPv4 of version 6": carried(gre(sip(), TEB), version=6),
    "IPv6 of version 4": carried(gre(sip(), TEB), "IPv6", version=4),
    "IPv6 fragment header cut short": carried((44, b"\x2f\0\0"), "IPv6"),
}


@pytest.mark.parametrize("kind", TUNNELS)
@pytest.mark.parametrize("name", NOT_THE_MIRRORS)
def test_everything_else_is_the_hosts(site: Site, hook: Hook, kind: SourceType, name: str) -> None:
    packet = NOT_THE_MIRRORS[name]
    assert_passed(loaded(site, kind).run(hook, packet), hook, packet, "mirror")


@pytest.mark.parametrize("kind", TUNNELS)
def test_a_tunnel_of_another_kind_is_the_hosts(site: Site, hook: Hook, kind: SourceType) -> None:
    for wrapped in WRAPPED.values():
        if wrapped.kind != kind:
            packet = carried(wrapped.payload)
            assert_passed(loaded(site, kind).run(hook, packet), hook, packet, "mirror")


def test_a_tunnel_behind_a_vlan_tag_is_the_hosts(site: Site, hook: Hook) -> None:
    packet = bytes(tagged(1)) + carried(gre(sip(), TEB))[14:]
    packet = packet[:16] + b"\x08\x00" + packet[18:]
    assert_passed(loaded(site, SourceType.GRE).run(hook, packet), hook, packet, "mirror")


# Sessions as VNIs


@pytest.mark.parametrize("session", [0, 1, 17, 1023])
def test_a_session_is_kept_or_mapped(site: Site, hook: Hook, session: int) -> None:
    mapped: dict[str, Any] = {"vni_rule": VniRule.MAP, "vni_map": ((session, 101),)}
    for build in (erspan2, erspan3):
        packet = carried(build(sip(), session_id=session))
        assert_sent(loaded(site, SourceType.ERSPAN).run(hook, packet), "mirror", sip(), session)
        datapath = site.load(site.tunnel(SourceType.ERSPAN, "mirror", **mapped))
        assert_sent(datapath.run(hook, packet), "mirror", sip(), 101)


def test_an_unknown_session(site: Site, hook: Hook) -> None:
    source = site.tunnel(SourceType.ERSPAN, "mirror", vni_rule=VniRule.MAP, vni_map=((17, 101),))
    outcome = site.load(source).run(hook, carried(erspan2(sip(), session_id=18)))
    assert_dropped(outcome, "mirror", len(sip()), "unknown_vni")
