"""`shared: true`: a mirror's frames and the host's own traffic on one NIC. What is the host's reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Reply
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLQuery,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    RouterAlert,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

from tests.lib.check import assert_dropped, assert_passed, assert_sent
from tests.lib.datapath import COLLECTOR6, TMETER, TMETER6, Datapath, Hook, Site
from tests.lib.samples import BROADCAST, LOOPS, PHONE_MAC, TELEPHONES6, ether, sip, tagged

VNI = 12
OWN_MAC, ANOTHER_MAC = "02:00:00:00:00:aa", "02:00:00:00:00:bb"
ALL_NODES_MAC, ALL_NODES = "33:33:00:00:00:01", "ff02::1"
GROUP_MAC, GROUP = "33:33:ff:00:00:01", "ff02::1:ff00:1"
OURS, NOT_OURS = "192.0.2.1", "192.0.2.77"
OURS6, NOT_OURS6 = COLLECTOR6, "2001:db8:1::77"


@contextmanager
def default_routes(site: Site) -> Iterator[None]:
    routes = ({"dst": "0.0.0.0/0", "gateway": TMETER}, {"dst": "::/0", "gateway": TMETER6})
    for route in routes:
        site.machine.ipr.route("add", **route)
    try:
        yield
    finally:
        for route in routes:
            site.machine.ipr.route("del", **route)


@pytest.fixture(scope="module")
def routed(site: Site) -> Iterator[Datapath]:
    """The routing table knows which addresses are the host's."""
    with default_routes(site):
        yield site.load(site.span("pbx", vni=VNI, shared_mac=OWN_MAC))


@pytest.fixture(scope="module")
def listed(site: Site) -> Datapath:
    """Without a default route it does not: the settings list them."""
    own = (ip_address(OURS), ip_address(OURS6))
    return site.load(site.span("pbx", vni=VNI, shared_mac=OWN_MAC, strict=(4, 6), own=own))


@pytest.fixture(params=["routed", "listed"])
def shared(request: pytest.FixtureRequest) -> Datapath:
    found: Datapath = request.getfixturevalue(request.param)
    return found


def to(mac: str) -> Any:
    return Ether(dst=mac, src=PHONE_MAC)


def dhcp(client: str, mac: str, address: str, port: int = 68) -> bytes:
    reply = BOOTP(op=2, chaddr=bytes.fromhex(client.replace(":", "")), yiaddr="192.0.2.50")
    datagram = UDP(sport=67, dport=port) / reply / DHCP(options=[("message-type", "offer"), "end"])
    return bytes(to(mac) / IP(src="192.0.2.254", dst=address) / datagram)


def nd(mac: str, message: Any, **ip: Any) -> bytes:
    return bytes(to(mac) / IPv6(**{"src": "fe80::1", "dst": ALL_NODES, "hlim": 255} | ip) / message)


def mld(message: Any) -> Any:
    return IPv6ExtHdrHopByHop(options=[RouterAlert()]) / message


OWN: dict[str, bytes] = {
    "SSH": bytes(to(OWN_MAC) / IP(src=NOT_OURS, dst=OURS) / TCP(sport=40000, dport=22)),
    "ping": bytes(to(OWN_MAC) / IP(src=NOT_OURS, dst=OURS) / ICMP()),
    "IP options": bytes(to(OWN_MAC) / IP(src=NOT_OURS, dst=OURS, options="\x01" * 8) / TCP(dport=22)),
    "first fragment": bytes(to(OWN_MAC) / IP(src=NOT_OURS, dst=OURS, flags="MF") / UDP() / Raw(bytes(40))),
    "later fragment": bytes(to(OWN_MAC) / IP(src=NOT_OURS, dst=OURS, frag=9, proto=17) / Raw(bytes(40))),
    "the t-meter's ICMP": bytes(to(OWN_MAC) / IP(src=TMETER, dst=OURS) / ICMP(type=3, code=4)),
    "ARP request": bytes(to(BROADCAST) / ARP(psrc=NOT_OURS, pdst=OURS)),
    "ARP request to us alone": bytes(to(OWN_MAC) / ARP(psrc=NOT_OURS, pdst=OURS)),
    "ARP reply": bytes(to(OWN_MAC) / ARP(op=2, psrc=TMETER, pdst=OURS)),
    "ARP probe of the address that DHCP gave": bytes(to(BROADCAST) / ARP(psrc="0.0.0.0", pdst=OURS)),
    "ARP that announces a new MAC address": bytes(to(BROADCAST) / ARP(psrc=TMETER, pdst=TMETER)),
    "DHCP offer": dhcp(OWN_MAC, BROADCAST, "255.255.255.255"),
    "DHCP offer to an address not ours yet": dhcp(OWN_MAC, OWN_MAC, "192.0.2.50"),
    "DHCP acknowledgement": dhcp(OWN_MAC, OWN_MAC, OURS),
    "IPv6 SSH": bytes(to(OWN_MAC) / IPv6(src=NOT_OURS6, dst=OURS6) / TCP(dport=22)),
    "IPv6 ping": bytes(to(OWN_MAC) / IPv6(src=NOT_OURS6, dst=OURS6) / ICMPv6EchoRequest()),
    "IPv6 fragment": bytes(
        to(OWN_MAC) / IPv6(src=NOT_OURS6, dst=OURS6) / IPv6ExtHdrFragment(offset=4) / bytes(40)
    ),
    "IPv6 link-local": bytes(to(OWN_MAC) / IPv6(src="fe80::1", dst="fe80::2") / ICMPv6EchoRequest()),
    "DHCPv6": bytes(to(OWN_MAC) / IPv6(src="fe80::1", dst="fe80::2") / UDP(dport=546) / DHCP6_Reply()),
    "router advertisement": nd(ALL_NODES_MAC, ICMPv6ND_RA()),
    "router advertisement to us alone": nd(OWN_MAC, ICMPv6ND_RA(), dst="fe80::2"),
    "neighbour solicitation": nd(GROUP_MAC, ICMPv6ND_NS(tgt=OURS6), dst=GROUP),
    "neighbour solicitation to us alone": nd(OWN_MAC, ICMPv6ND_NS(tgt=OURS6), dst=OURS6),
    "neighbour solicitation, link-local": nd(GROUP_MAC, ICMPv6ND_NS(tgt="fe80::2"), dst=GROUP),
    "neighbour advertisement": nd(OWN_MAC, ICMPv6ND_NA(tgt=TMETER6), dst=OURS6),
    "neighbour advertisement to all": nd(ALL_NODES_MAC, ICMPv6ND_NA(tgt=TMETER6)),
    "MLD query": nd(ALL_NODES_MAC, mld(ICMPv6MLQuery())),
}
MIRRORED: dict[str, bytes] = {
    "between two others": sip(),
    "from our MAC address": sip(ether(src=OWN_MAC)),
    "to our address at another MAC address": bytes(to(ANOTHER_MAC) / IP(src=NOT_OURS, dst=OURS) / TCP()),
    "to our MAC address, for another on our network": sip(to(OWN_MAC), dst=NOT_OURS),
    "to our MAC address, for the t-meter": sip(to(OWN_MAC), dst=TMETER),
    "to our MAC address, for a far one": sip(to(OWN_MAC)),
    "to our MAC address, for a group": sip(to(OWN_MAC), dst="224.0.1.75"),
    "broadcast": sip(to(BROADCAST), dst="255.255.255.255"),
    "to our network's broadcast address": sip(to(BROADCAST), dst="192.0.2.255"),
    "multicast": sip(to("01:00:5e:00:01:4b"), dst="224.0.1.75"),
    "to our address by broadcast": sip(to(BROADCAST), dst=OURS),
    "ARP request for another": bytes(to(BROADCAST) / ARP(psrc=TMETER, pdst=NOT_OURS)),
    "ARP reply to another": bytes(to(ANOTHER_MAC) / ARP(op=2, psrc=TMETER, pdst=NOT_OURS)),
    "ARP cut short": bytes(to(BROADCAST) / ARP(psrc=TMETER, pdst=OURS))[:41],
    "DHCP offer to another": dhcp(ANOTHER_MAC, BROADCAST, "255.255.255.255"),
    "DHCP offer to a similar MAC address": dhcp("02:00:00:00:00:ab", BROADCAST, "255.255.255.255"),
    "DHCP request of ours": dhcp(OWN_MAC, BROADCAST, "255.255.255.255", port=67),
    "DHCP offer cut short": dhcp(OWN_MAC, BROADCAST, "255.255.255.255")[:75],
    "IPv6 between two others": bytes(ether() / IPv6(**TELEPHONES6) / UDP(dport=5060)),
    "IPv6 to our MAC address, for another": bytes(to(OWN_MAC) / IPv6(src=OURS6, dst=NOT_OURS6) / TCP()),
    "IPv6 to our MAC address, for the t-meter": bytes(to(OWN_MAC) / IPv6(src=OURS6, dst=TMETER6) / TCP()),
    "IPv6 to our MAC address, for a far one": bytes(to(OWN_MAC) / IPv6(**TELEPHONES6) / UDP(dport=5060)),
    "neighbour solicitation for another": nd(GROUP_MAC, ICMPv6ND_NS(tgt=NOT_OURS6), dst=GROUP),
    "neighbour solicitation cut short": nd(GROUP_MAC, ICMPv6ND_NS(tgt=OURS6), dst=GROUP)[:70],
    "router solicitation": nd("33:33:00:00:00:02", ICMPv6ND_RS(), dst="ff02::2"),
    "neighbour advertisement to another": nd(ANOTHER_MAC, ICMPv6ND_NA(tgt=TMETER6), dst=NOT_OURS6),
    "IPv6 multicast": bytes(to("33:33:00:00:01:4b") / IPv6(dst="ff0e::14b") / UDP(dport=5060)),
    "spanning tree": bytes(Ether(dst="01:80:c2:00:00:00", src=PHONE_MAC, type=0x26) / Raw(bytes(40))),
    "LLDP": bytes(Ether(dst="01:80:c2:00:00:0e", src=PHONE_MAC, type=0x88CC) / b"x"),
    "our MAC address, another protocol": bytes(Ether(dst=OWN_MAC, type=0x88B5) / Raw(bytes(40))),
    "our MAC address, a lying header": bytes(to(OWN_MAC) / IP(src=NOT_OURS, dst=OURS, ihl=4) / TCP()),
}
TAGGED: dict[str, bytes] = {
    "SSH behind a tag": bytes(tagged(1) / IP(src=NOT_OURS, dst=OURS) / TCP(dport=22)),
    "ARP behind a tag": bytes(tagged(1) / ARP(psrc=NOT_OURS, pdst=OURS)),
}


@pytest.mark.parametrize("name", OWN)
def test_the_hosts_own_reaches_it(shared: Datapath, hook: Hook, name: str) -> None:
    assert_passed(shared.run(hook, OWN[name]), hook, OWN[name], "pbx")


@pytest.mark.parametrize("name", [*MIRRORED, *TAGGED])
def test_the_rest_is_mirrored(shared: Datapath, hook: Hook, name: str) -> None:
    """Behind a VLAN tag too: the host's own traffic on a shared NIC is untagged."""
    frame = (MIRRORED | TAGGED)[name]
    assert_sent(shared.run(hook, frame), "pbx", frame, VNI)


@pytest.mark.parametrize("name", LOOPS)
def test_loops_are_dropped(shared: Datapath, hook: Hook, name: str) -> None:
    assert_dropped(shared.run(hook, LOOPS[name]), "pbx", len(LOOPS[name]), "loop")


@pytest.mark.parametrize("name", OWN)
def test_without_shared_all_is_mirrored(site: Site, hook: Hook, name: str) -> None:
    assert_sent(site.load(site.span()).run(hook, OWN[name]), "pbx", OWN[name], VNI)


def test_a_new_address_is_known_at_once(site: Site, routed: Datapath, hook: Hook) -> None:
    frame = bytes(to(OWN_MAC) / IP(src=NOT_OURS, dst="192.0.2.50") / TCP(dport=22))
    assert_sent(routed.run(hook, frame), "pbx", frame, VNI)
    site.machine.address("eth0", "192.0.2.50/24")
    try:
        assert_passed(routed.run(hook, frame), hook, frame, "pbx")
    finally:
        site.machine.ipr.addr("del", index=site.uplink, address="192.0.2.50", prefixlen=24)


@pytest.mark.parametrize("name", ["SSH", "IPv6 SSH", "ARP request", "neighbour solicitation", "DHCP offer"])
def test_without_forwarding_on_lo(site: Site, shared: Datapath, hook: Hook, name: str) -> None:
    """Somebody reset it: better that the host hears too much than that its SSH ends."""
    try:
        for family in ("ipv4", "ipv6"):
            site.machine.sysctl(f"net/{family}/conf/lo/forwarding", 0)
        assert_passed(shared.run(hook, OWN[name]), hook, OWN[name], "pbx")
    finally:
        for family in ("ipv4", "ipv6"):
            site.machine.sysctl(f"net/{family}/conf/lo/forwarding", 1)
