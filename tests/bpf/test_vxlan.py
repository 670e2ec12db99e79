"""A cloud mirror's frames: unwrapped, wrapped anew, and everything else on that NIC left to the host."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from collector.datapath.settings import VniRule
from tests.lib.check import assert_dropped, assert_left_to_tc, assert_passed, assert_sent
from tests.lib.datapath import COLLECTOR, TMETER_PORT, Datapath, Hook, Site
from tests.lib.samples import (
    ANYTHING,
    LOOPS,
    MIRROR,
    TOO_MANY_TAGS,
    ether,
    mirrored,
    sip,
    sized,
    tagged,
)

VNI = 17
VXLAN_AT = 42  # where the VXLAN header is in a mirror's packet
UDP_LENGTH = 16 + len(sip())  # of a mirror's packet around sip()


@pytest.fixture(scope="module")
def vxlan(site: Site) -> Datapath:
    return site.load(site.vxlan("aws"))


@pytest.mark.parametrize("name", ANYTHING)
def test_whatever_is_inside_is_sent_as_it_is(vxlan: Datapath, hook: Hook, name: str) -> None:
    assert_sent(vxlan.run(hook, mirrored(ANYTHING[name])), "aws", ANYTHING[name], VNI)


@pytest.mark.parametrize("name", LOOPS)
def test_what_is_on_its_way_to_the_tmeter_is_dropped(vxlan: Datapath, hook: Hook, name: str) -> None:
    assert_dropped(vxlan.run(hook, mirrored(LOOPS[name])), "aws", len(LOOPS[name]), "loop")


@pytest.mark.parametrize("name", TOO_MANY_TAGS)
def test_more_tags_than_are_looked_behind(vxlan: Datapath, hook: Hook, name: str) -> None:
    frame = TOO_MANY_TAGS[name]
    assert_dropped(vxlan.run(hook, mirrored(frame)), "aws", len(frame), "malformed")


@pytest.mark.parametrize(
    "fields",
    [
        {"vxlan_reserved2": 0xFF},
        {"udp_chksum": 0xBAD},
        {"udp_chksum": None},
        {"udp_sport": 1},
        {"ip_ttl": 1},
        {"ip_tos": 0xB8},
        {"ip_flags": "DF"},
        {"ip_len": 9000},
        {"ethernet": ether(dst="ff:ff:ff:ff:ff:ff")},
        *({"ip_options": "\x01" * (4 * words)} for words in range(1, 11)),
    ],
    ids=str,
)
def test_what_the_mirrors_headers_may_have(vxlan: Datapath, hook: Hook, fields: dict[str, Any]) -> None:
    assert_sent(vxlan.run(hook, mirrored(sip(), **fields)), "aws", sip(), VNI)


def test_reserved_bits_are_ignored(vxlan: Datapath, hook: Hook) -> None:
    packet = mirrored(sip())
    all_bits_set = packet[:VXLAN_AT] + b"\xff\xff\xff\xff\x00\x00\x11\xff" + packet[VXLAN_AT + 8 :]
    assert_sent(vxlan.run(hook, all_bits_set), "aws", sip(), VNI)


@pytest.mark.parametrize("size", [42, 60, 214, 1400, 1464])
def test_sizes(vxlan: Datapath, hook: Hook, size: int) -> None:
    assert_sent(vxlan.run(hook, mirrored(sized(size))), "aws", sized(size), VNI)


MALFORMED: dict[str, bytes] = {
    "no I flag": mirrored(sip(), vxlan_flags=0),
    "all flags but I": mirrored(sip(), vxlan_flags=0xF7),
    "no VXLAN header": mirrored(b"")[:42],
    "VXLAN header cut short": mirrored(b"")[:49],
    "nothing inside": mirrored(b""),
    "inner frame of 13 bytes": mirrored(sip()[:13]),
    "UDP length 0": mirrored(sip(), udp_len=0),
    "UDP length 7": mirrored(sip(), udp_len=7),
    "UDP length leaves 13 bytes inside": mirrored(sip(), udp_len=8 + 8 + 13),
    "UDP length beyond the packet": mirrored(sip(), udp_len=UDP_LENGTH + 1),
    "UDP length far beyond the packet": mirrored(sip(), udp_len=65535),
    "UDP length beyond the IP length": mirrored(sip(), ip_len=20 + UDP_LENGTH - 1),
    "packet cut short": mirrored(sip())[:-1],
    "IP options, cut short": mirrored(sip(), ip_options="\x01" * 40)[:-1],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(vxlan: Datapath, hook: Hook, name: str) -> None:
    """Nothing inside can be told apart: the whole packet is counted."""
    packet = MALFORMED[name]
    assert_dropped(vxlan.run(hook, packet), "aws", len(packet), "malformed")


HOSTS_OWN: dict[str, bytes] = {
    "SSH": bytes(ether() / IP(src=MIRROR, dst=COLLECTOR) / TCP(sport=40000, dport=22)),
    "TCP to the VXLAN port": bytes(ether() / IP(src=MIRROR, dst=COLLECTOR) / TCP(dport=4789) / sip()),
    "DHCP": bytes(ether() / IP(dst=COLLECTOR) / UDP(sport=67, dport=68) / Raw(bytes(240))),
    "ARP": bytes(ether() / ARP(pdst=COLLECTOR)),
    "ping": ANYTHING["ping to the collector"],
    "another UDP port": mirrored(sip(), udp_dport=4790),
    "from the VXLAN port": mirrored(sip(), udp_sport=4789, udp_dport=50000),
    "behind a VLAN tag": mirrored(sip(), ethernet=tagged(1)),
    "behind two VLAN tags": mirrored(sip(), ethernet=tagged(2)),
    "later fragment": bytes(ether() / IP(src=MIRROR, dst=COLLECTOR, frag=9, proto=17) / mirrored(sip())[34:]),
    "last fragment": bytes(ether() / IP(src=MIRROR, dst=COLLECTOR, frag=9, proto=17) / Raw(bytes(90))),
    "IP length 0": mirrored(sip(), ip_len=0),
    "IP header with a false length": mirrored(sip(), ip_ihl=4),
    "IP version 6 in IPv4": mirrored(sip(), ip_version=6),
    "IP options beyond the end": bytes(ether() / IP(src=MIRROR, dst=COLLECTOR, ihl=15, proto=17)),
    "UDP header cut short": mirrored(sip())[:41],
    "unknown ethertype": ANYTHING["unknown ethertype"],
    "LLDP": ANYTHING["LLDP"],
    "spanning tree": ANYTHING["spanning tree"],
}


@pytest.mark.parametrize("name", HOSTS_OWN)
def test_everything_else_is_the_hosts(vxlan: Datapath, hook: Hook, name: str) -> None:
    assert_passed(vxlan.run(hook, HOSTS_OWN[name]), hook, HOSTS_OWN[name], "aws")


def test_a_gso_packet_of_the_host_is_passed_as_so_many_frames(vxlan: Datapath) -> None:
    packet = bytes(ether() / IP(src=MIRROR, dst=COLLECTOR) / TCP(dport=22) / Raw(bytes(3000)))
    outcome = vxlan.run("tc", packet, gso_size=1000, gso_segs=3)
    assert (outcome.verdict, outcome.packet, outcome.change) == ("pass", packet, {"aws passed": 3})


# The VNI


@pytest.mark.parametrize(
    ("settings", "arrives", "leaves"),
    [
        ({"vni_rule": VniRule.KEEP}, 0, 0),
        ({"vni_rule": VniRule.KEEP}, 17, 17),
        ({"vni_rule": VniRule.KEEP}, 2**24 - 1, 2**24 - 1),
        ({"vni_rule": VniRule.FIXED, "vni": 12}, 17, 12),
        ({"vni_rule": VniRule.FIXED, "vni": 0}, 17, 0),
        ({"vni_rule": VniRule.FIXED, "vni": 2**24 - 1}, 17, 2**24 - 1),
        ({"vni_rule": VniRule.MAP, "vni_map": ((17, 101), (18, 102))}, 17, 101),
        ({"vni_rule": VniRule.MAP, "vni_map": ((17, 101), (18, 102))}, 18, 102),
        ({"vni_rule": VniRule.MAP, "vni_map": ((0, 2**24 - 1), (2**24 - 1, 0))}, 0, 2**24 - 1),
        ({"vni_rule": VniRule.MAP, "vni_map": ((0, 2**24 - 1), (2**24 - 1, 0))}, 2**24 - 1, 0),
        ({"vni_rule": VniRule.MAP, "vni_map": ((17, 101),), "vni": 12}, 19, 12),
        ({"vni_rule": VniRule.MAP, "vni_map": ((17, 101),), "vni": 0}, 19, 0),
        ({"vni_rule": VniRule.MAP, "vni_map": ((17, 101),), "vni": 12}, 17, 101),
    ],
    ids=str,
)
def test_vni(site: Site, hook: Hook, settings: dict[str, Any], arrives: int, leaves: int) -> None:
    outcome = site.load(site.vxlan(**settings)).run(hook, mirrored(sip(), vxlan_vni=arrives))
    assert_sent(outcome, "aws", sip(), leaves)


def test_unknown_vni(site: Site, hook: Hook) -> None:
    datapath = site.load(site.vxlan(vni_rule=VniRule.MAP, vni_map=((17, 101),)))
    outcome = datapath.run(hook, mirrored(sip(), vxlan_vni=19))
    assert_dropped(outcome, "aws", len(sip()), "unknown_vni")


def test_each_source_has_a_map_of_its_own(site: Site, hook: Hook) -> None:
    mapped: dict[str, Any] = {"vni_rule": VniRule.MAP}
    first = site.vxlan("aws", vni_map=((17, 101),), **mapped)
    second = site.vxlan("azure", slot=1, port=4790, vni_map=((17, 201), (18, 202)), **mapped)
    both = site.load(first, second)
    assert_sent(both.run(hook, mirrored(sip(), vxlan_vni=17)), "aws", sip(), 101)
    assert_dropped(both.run(hook, mirrored(sip(), vxlan_vni=18)), "aws", len(sip()), "unknown_vni")
    assert_sent(both.run(hook, mirrored(sip(), vxlan_vni=17, udp_dport=4790)), "azure", sip(), 201)
    assert_sent(both.run(hook, mirrored(sip(), vxlan_vni=18, udp_dport=4790)), "azure", sip(), 202)


# Senders, ports, NICs


@pytest.mark.parametrize(
    ("senders", "sender", "allowed"),
    [
        ("0.0.0.0/0", "203.0.113.1", True),
        ("198.51.100.7/32", "198.51.100.7", True),
        ("198.51.100.7/32", "198.51.100.6", False),
        ("198.51.100.0/24", "198.51.100.255", True),
        ("198.51.100.0/24", "198.51.101.0", False),
        ("198.51.100.0/25", "198.51.100.128", False),
        ("203.0.113.0/24 198.51.100.0/24", "198.51.100.1", True),
        ("203.0.113.0/24 198.51.100.0/24", "203.0.113.1", True),
        ("203.0.113.0/24 198.51.100.0/24", "192.0.2.1", False),
        ("128.0.0.0/1", "10.0.0.1", False),
    ],
)
def test_senders(site: Site, hook: Hook, senders: str, sender: str, *, allowed: bool) -> None:
    packet = mirrored(sip(), ip_src=sender)
    outcome = site.load(site.vxlan(senders=senders)).run(hook, packet)
    if allowed:
        assert_sent(outcome, "aws", sip(), VNI)
    else:
        assert_passed(outcome, hook, packet, "aws")


def test_two_sources_by_port(site: Site, hook: Hook) -> None:
    both = site.load(site.vxlan("aws"), site.vxlan("azure", slot=1, port=8472))
    assert_sent(both.run(hook, mirrored(sip(), udp_dport=4789)), "aws", sip(), VNI)
    assert_sent(both.run(hook, mirrored(sip(), udp_dport=8472)), "azure", sip(), VNI)
    neither = mirrored(sip(), udp_dport=8473)
    assert_passed(both.run(hook, neither), hook, neither, "aws")


def test_two_sources_by_sender(site: Site, hook: Hook) -> None:
    """The longest prefix decides."""
    wide = site.vxlan("aws", senders="198.51.0.0/16", vni_rule=VniRule.FIXED, vni=1)
    narrow = site.vxlan("azure", slot=1, senders="198.51.100.0/24", vni_rule=VniRule.FIXED, vni=2)
    both = site.load(wide, narrow)
    assert_sent(both.run(hook, mirrored(sip(), ip_src="198.51.99.1")), "aws", sip(), 1)
    assert_sent(both.run(hook, mirrored(sip(), ip_src="198.51.100.1")), "azure", sip(), 2)
    neither = mirrored(sip(), ip_src="203.0.113.1")
    assert_passed(both.run(hook, neither), hook, neither, "aws")


def test_a_source_hears_only_its_own_nic(site: Site, hook: Hook) -> None:
    first, second = site.vxlan("aws"), site.vxlan("azure", slot=1, ifindex=site.nic2, port=8472)
    both = site.load(first, second)
    assert_sent(both.run(hook, mirrored(sip()), site.nic), "aws", sip(), VNI)
    assert_passed(both.run(hook, mirrored(sip()), site.nic2), hook, mirrored(sip()), "azure")


def test_beside_a_span_source(site: Site, hook: Hook) -> None:
    both = site.load(site.span("pbx", vni=12), site.vxlan("aws", slot=1, ifindex=site.nic2))
    assert_sent(both.run(hook, mirrored(sip()), site.nic), "pbx", mirrored(sip()), 12)
    assert_sent(both.run(hook, mirrored(sip()), site.nic2), "aws", sip(), VNI)


# Bytes behind the packet; VLAN tags inside


@pytest.mark.parametrize("behind", [b"\0", bytes(6), b"\xff" * 40, bytes(1500)], ids=len)
def test_bytes_behind_the_packet_are_trimmed(vxlan: Datapath, behind: bytes) -> None:
    packet = mirrored(sip(), behind=behind)
    assert_left_to_tc(vxlan, packet)
    assert_sent(vxlan.run("tc", packet), "aws", sip(), VNI)


def test_udp_length_shorter_than_the_ip_length(vxlan: Datapath) -> None:
    packet = mirrored(sip(), udp_len=UDP_LENGTH - 5)
    assert_left_to_tc(vxlan, packet)
    assert_sent(vxlan.run("tc", packet), "aws", sip()[:-5], VNI)


@pytest.mark.parametrize("tags", range(9))
def test_inner_vlan_tags_are_stripped(site: Site, hook: Hook, tags: int) -> None:
    frame = sip(tagged(tags))
    outcome = site.load(site.vxlan(strip_vlan=True)).run(hook, mirrored(frame))
    assert_sent(outcome, "aws", sip(), VNI, received=len(frame))


@pytest.mark.parametrize("options", [0, 4, 40])
def test_stripping_behind_ip_options(site: Site, hook: Hook, options: int) -> None:
    frame = sip(tagged(2))
    outcome = site.load(site.vxlan(strip_vlan=True)).run(hook, mirrored(frame, ip_options="\x01" * options))
    assert_sent(outcome, "aws", sip(), VNI, received=len(frame))


def test_bytes_behind_the_packet_are_no_part_of_the_frame(site: Site) -> None:
    """A tag, or the t-meter's address, that only they complete does not count."""
    strip = site.load(site.vxlan(strip_vlan=True))
    cut = ether(type=0x8100)
    assert_sent(strip.run("tc", mirrored(bytes(cut), behind=bytes(50))), "aws", bytes(cut), VNI)
    for size in (14, 34, 37):
        loop = LOOPS["outer packet"]
        outcome = strip.run("tc", mirrored(loop[:size], behind=loop[size:]))
        assert_sent(outcome, "aws", loop[:size], VNI)


def test_the_flow_of_what_had_bytes_behind_it_follows(site: Site) -> None:
    """To tc: else the next frame would overtake it."""
    datapath = site.load_fresh(site.vxlan())
    assert_sent(datapath.run("xdp", mirrored(sip())), "aws", sip(), VNI)
    assert_left_to_tc(datapath, mirrored(sip(), behind=bytes(6)))
    assert_left_to_tc(datapath, mirrored(sip()))
    assert_sent(datapath.run("tc", mirrored(sip(), behind=bytes(6))), "aws", sip(), VNI)
    assert_sent(datapath.run("xdp", mirrored(sized(214))), "aws", sized(214), VNI)


def test_vxlan_inside_is_left_alone(site: Site, hook: Hook) -> None:
    nested = mirrored(mirrored(sip()), ip_dst="198.51.100.9")
    assert_sent(site.load(site.vxlan()).run(hook, mirrored(nested)), "aws", nested, VNI)


def test_the_tmeters_port_may_be_the_mirrors(site: Site, hook: Hook) -> None:
    """Each packet to the collector on that port is the mirror's: only the t-meter's address makes a loop."""
    datapath = site.load(site.vxlan(), port=TMETER_PORT)
    assert_sent(datapath.run(hook, mirrored(mirrored(sip()))), "aws", mirrored(sip()), VNI)
