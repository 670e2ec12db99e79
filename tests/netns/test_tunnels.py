"""Every kind of mirror on one NIC: unwrapped, wrapped anew, and the host's own traffic left alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from tests.lib import mirrored, wrapped
from tests.lib.call import call, in_ipv6
from tests.lib.cloud import CLOUD, STRANGER, Cloud, one_network
from tests.lib.dissection import Layer, behind, dissect
from tests.lib.hosttraffic import conversation, pings
from tests.lib.rig import COLLECTOR, STATUS_HOOK, T_METER
from tests.lib.tap import inner, send
from tests.lib.tshark import fields
from tests.lib.wrapped import BARE_IPV6, FORMS, Form

FIXED_VNI = {"gre": 21, "tzsp": 22, "ipip": 23}
OTHERS = "192.0.2.64/26"  # the second mirror's network; the first's is none of it
SOURCES: list[dict[str, Any]] = [
    {"name": "vxlan", "type": "vxlan", "from": [f"{CLOUD}/32"]},
    {"name": "vxlan-port", "type": "vxlan", "from": [f"{CLOUD}/32"], "port": 14789, "vni": 1000},
    {"name": "vxlan-others", "type": "vxlan", "from": [OTHERS], "vni": {17: 117}},
    {"name": "geneve", "type": "geneve", "from": [f"{CLOUD}/32"]},
    {"name": "gre", "type": "gre", "from": [f"{CLOUD}/32"], "vni": FIXED_VNI["gre"]},
    {"name": "gre-others", "type": "gre", "from": ["192.0.2.98/32"], "vni": 121},
    {"name": "erspan", "type": "erspan", "from": [f"{CLOUD}/32"]},
    {"name": "erspan-others", "type": "erspan", "from": [OTHERS], "vni": {32: 132, "default": 133}},
    {"name": "tzsp", "type": "tzsp", "from": [f"{CLOUD}/32"], "vni": FIXED_VNI["tzsp"]},
    {"name": "ipip", "type": "ipip", "from": [f"{CLOUD}/32"], "vni": FIXED_VNI["ipip"]},
]


@pytest.fixture(scope="module", params=["xdp", "tc"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with one_network(request.param) as cloud:
        cloud.tool.apply([{**source, "interface": "eth0", "hook": request.param} for source in SOURCES])
        yield cloud


def packet(cloud: Cloud, form: Form, frame: bytes, sender: str = CLOUD) -> bytes:
    return form.packet(wrapped.outer_ipv4(sender, COLLECTOR, cloud.collector.mac("eth0")), frame)


def vni_of(outer: bytes) -> int:
    return int.from_bytes(outer[46:49], "big")


def views(frames: list[bytes], per_form: int) -> dict[str, list[list[Layer]]]:
    layers = dissect(frames)
    return {name: layers[at * per_form : (at + 1) * per_form] for at, name in enumerate(FORMS)}


def test_tshark_sees_in_what_leaves_what_it_sees_in_what_was_mirrored(cloud: Cloud) -> None:
    """Each form carries a call, and every byte and every word about it is the same on the other side."""
    frames = call()
    outer: list[bytes] = []
    for name, form in FORMS.items():
        with cloud.uplink() as tap:
            send(cloud.mirror, "eth0", [packet(cloud, form, frame) for frame in frames])
            outer += (arrived := tap.wait(len(frames)))
        assert (name, list(map(inner, arrived))) == (name, list(map(form.expected, frames)))
        assert (name, set(map(vni_of, arrived))) == (name, {vni_sent(form)})
    mirrored_view = views([form.expected(frame) for form in FORMS.values() for frame in frames], len(frames))
    sent_view = views(outer, len(frames))
    for name in FORMS:
        assert [behind(layers, "vxlan") for layers in sent_view[name]] == mirrored_view[name], name


def vni_sent(form: Form) -> int:
    return FIXED_VNI[form.source] if form.vni is None else form.vni


def test_tshark_takes_the_mirrors_packets_for_what_they_are_meant_to_be(cloud: Cloud) -> None:
    """The samples themselves: their insides, as Wireshark's own decoders find them, are the mirrored call."""
    frames = call()
    packets = [packet(cloud, form, frame) for form in FORMS.values() for frame in frames]
    expected = views(frames * len(FORMS), len(frames))
    tunnelled = views(packets, len(frames))
    last = {"geneve of a gateway load balancer": "vxlan", "erspan I": "erspan", "ipip": "ip"}
    for name, form in FORMS.items():
        for layers, whole in zip(tunnelled[name], expected[name], strict=True):
            wanted = whole[1:] if form.bare else whole
            if name == "ipip":
                assert layers[-len(wanted) :] == wanted, name
            else:
                assert behind(layers, last.get(name, form.source)) == wanted, name


def test_packets_of_ipv6_without_ethernet_get_its_ethertype(cloud: Cloud) -> None:
    frames = list(map(in_ipv6, call(1)))
    for name, form in BARE_IPV6.items():
        with cloud.uplink() as tap:
            send(cloud.mirror, "eth0", [packet(cloud, form, frame) for frame in frames])
            outer = tap.wait(len(frames))
        expected = list(map(form.expected, frames))
        assert (name, list(map(inner, outer))) == (name, expected)
        assert [behind(layers, "vxlan") for layers in dissect(outer)] == dissect(expected), name


def test_headers_of_what_leaves(cloud: Cloud) -> None:
    frame = call()[0]
    with cloud.uplink() as tap:
        send(cloud.mirror, "eth0", [packet(cloud, form, frame) for form in FORMS.values()])
        outer = tap.wait(len(FORMS))
    seen = fields(outer, ["ip.src", "ip.dst", "ip.ttl", "ip.checksum.status", "udp.dstport", "udp.checksum"])
    assert set(seen) == {(COLLECTOR, T_METER, "64", "1", "4789", "0x0000")}
    assert set(fields(outer, ["vxlan.flags", "vxlan.gbp", "vxlan.reserved8"])) == {("0x0800", "0", "0")}


def test_sources_on_one_nic_are_told_apart_by_sender_port_and_protocol(cloud: Cloud) -> None:
    hook = STATUS_HOOK[cloud.hook]
    by_port = Form("vxlan", wrapped.vxlan(17, port=14789))
    cases = [
        ("vxlan", FORMS["vxlan"], CLOUD, 17),
        ("vxlan-port", by_port, CLOUD, 1000),
        ("vxlan-others", FORMS["vxlan"], STRANGER, 117),
        ("geneve", FORMS["geneve"], CLOUD, 18),
        ("gre", FORMS["gre"], CLOUD, 21),
        ("gre-others", FORMS["gre with IP"], "192.0.2.98", 121),
        ("erspan", FORMS["erspan III"], CLOUD, 33),
        ("erspan-others", FORMS["erspan II"], STRANGER, 132),
        ("erspan-others", FORMS["erspan III"], "192.0.2.98", 133),
        ("tzsp", FORMS["tzsp"], CLOUD, 22),
        ("ipip", FORMS["ipip"], CLOUD, 23),
    ]
    frame = call()[0]
    before = cloud.tool.status()
    with cloud.uplink() as tap:
        for number, (_source, form, sender, vni) in enumerate(cases, start=1):
            send(cloud.mirror, "eth0", [packet(cloud, form, frame, sender)])
            assert vni_of(tap.wait(number)[-1]) == vni
    after = cloud.tool.status()
    counted = {each["name"]: after.source(each["name"])["frames"] for each in SOURCES}
    expected = [source for source, *_ in cases]
    assert counted == {name: before.source(name)["frames"] + expected.count(name) for name in counted}
    assert {after.source(name)["hook"] for name in counted} == {hook}
    assert after.drops == before.drops


def test_what_no_source_is_for_reaches_the_host_as_it_came(cloud: Cloud) -> None:
    """Also tunnels: GRE from a sender that is not allowed, VXLAN to a port that is nobody's."""
    frame = call()[0]
    link = wrapped.outer_ipv4(STRANGER, COLLECTOR, cloud.collector.mac("eth0"))
    foreign = {
        socket.IPPROTO_GRE: FORMS["gre"].packet(link, frame),
        socket.IPPROTO_IPIP: FORMS["ipip"].packet(link, frame),
        socket.IPPROTO_UDP: Form("vxlan", wrapped.vxlan(17, port=14790)).packet(link, frame),
    }
    before = cloud.tool.status()
    for protocol, sent in foreign.items():
        with cloud.collector.enter():
            host = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
        with host:
            host.settimeout(5)
            send(cloud.mirror, "eth0", [sent])
            while (received := host.recv(2000)) != sent[14:]:
                assert received[9] == protocol
    assert conversation(cloud.mirror, cloud.collector, COLLECTOR, b"SSH-2.0-test\r\n" * 5000)
    assert pings(cloud.mirror, COLLECTOR)
    after = cloud.tool.status()
    assert (after.frames, after.drops) == (before.frames, before.drops)
    assert after.passed >= before.passed + len(foreign)


@pytest.mark.parametrize("name", ["vxlan", "geneve", "gre", "erspan II", "tzsp", "ipip"])
def test_outer_fragments_are_dropped_and_never_reach_the_host(cloud: Cloud, name: str) -> None:
    """Each is counted; the host's own are put together as ever."""
    form = FORMS[name]
    small, large = mirrored.numbered(2, (100, 1400))
    whole = Ether(packet(cloud, form, large))
    pieces = [bytes(Ether(bytes(whole)[:14]) / each) for each in fragment(whole[IP], fragsize=400)]
    assert len(pieces) == 4
    before, waiting = cloud.tool.status(), reassemblies(cloud)
    with cloud.uplink() as tap:
        send(cloud.mirror, "eth0", [*pieces, packet(cloud, form, small)])
        assert list(map(inner, tap.wait(1))) == [form.expected(small)]
        after = cloud.tool.status()
        assert len(tap.frames()) == 1
    drops = dict(before.source(form.source)["drops"])
    assert after.source(form.source)["drops"] == {**drops, "outer_fragment": drops["outer_fragment"] + 4}
    assert reassemblies(cloud) == waiting
    assert datagram_arrives(cloud, bytes(4000))
    assert reassemblies(cloud) > waiting


def datagram_arrives(cloud: Cloud, content: bytes) -> bool:
    with cloud.collector.enter():
        host = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with cloud.mirror.enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with host, sender:
        host.settimeout(5)
        host.bind((COLLECTOR, 0))
        sender.sendto(content, host.getsockname())
        return host.recv(65535) == content


def reassemblies(cloud: Cloud) -> int:
    """Fragments that the host has taken (RFC 4293, ipReasmReqds)."""
    with cloud.collector.enter():
        names, values = Path("/proc/thread-self/net/snmp").read_text().splitlines()[:2]
    return int(dict(zip(names.split(), values.split(), strict=True))["ReasmReqds"])


def test_an_overlay_that_was_mirrored_is_left_as_it_is(cloud: Cloud) -> None:
    """Only the mirror's own wrapping is taken off, whatever the frame inside carries itself."""
    link = wrapped.outer_ipv4("198.51.100.1", "198.51.100.2", mirrored.PBX)
    frames = [form.packet(link, call()[0]) for form in FORMS.values()]
    with cloud.uplink() as tap:
        for name in ("vxlan", "gre", "erspan III", "geneve", "ipip", "tzsp"):
            form, seen = FORMS[name], len(tap.frames())
            send(cloud.mirror, "eth0", [packet(cloud, form, frame) for frame in frames])
            arrived = tap.wait(seen + len(frames))[seen:]
            assert sorted(map(inner, arrived)) == sorted(map(form.expected, frames)), name


def test_what_cannot_be_unwrapped_is_dropped_for_a_reason(cloud: Cloud) -> None:
    link = wrapped.outer_ipv4(CLOUD, COLLECTOR, cloud.collector.mac("eth0"))
    gre = Ether(bytes(link)[:14]) / IP(src=CLOUD, dst=COLLECTOR, proto=socket.IPPROTO_GRE)
    frame = Raw(call()[0])
    cases = [
        ("gre", "unsupported", link / wrapped.gre(0x880B)(frame)),  # PPP
        ("geneve", "unsupported", link / wrapped.geneve(1, 0x0806)(frame)),
        ("geneve", "malformed", link / UDP(sport=1, dport=6081) / Raw(b"\x3f\0\x65\x58" + bytes(20))),
        ("gre", "malformed", gre / Raw(b"\x40\0\x65\x58" + bytes(60))),
        ("erspan", "malformed", gre / Raw(b"\x10\0\x88\xbe" + bytes(60))),
        ("tzsp", "malformed", link / UDP(sport=1, dport=37008) / Raw(b"\x02\0\0\x01\x01" + bytes(60))),
        ("vxlan", "malformed", link / UDP(sport=1, dport=4789) / Raw(bytes(60))),
        ("ipip", "malformed", link / IP(version=5) / Raw(bytes(60))),
    ]
    before = cloud.tool.status()
    send(cloud.mirror, "eth0", [bytes(each) for _source, _reason, each in cases])
    after = cloud.tool.settled(before.frames + len(cases))
    for name in {source for source, *_ in cases}:
        old, new = before.source(name)["drops"], after.source(name)["drops"]
        reasons = [reason for source, reason, _ in cases if source == name]
        assert (name, new) == (name, {key: old[key] + reasons.count(key) for key in old})
    assert after.sent == before.sent
