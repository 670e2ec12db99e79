"""Several tunnel sources on one NIC: which of them a packet belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from collector.datapath.settings import SourceType, VniRule
from tests.lib.check import assert_passed, assert_sent
from tests.lib.datapath import Hook, Site
from tests.lib.samples import ether, sip
from tests.lib.tunnels import (
    BARE4,
    CARRIERS,
    NO_VNI,
    TEB,
    VNI,
    WRAPPED,
    carried,
    gre,
    vxlan,
)

TUNNELS = [kind for kind in SourceType if kind != SourceType.SPAN]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_one_of_each_kind_on_one_nic(site: Site, hook: Hook, carrier: str) -> None:
    datapath = site.load(*site.one_of_each())
    for wrapped in WRAPPED.values():
        outcome = datapath.run(hook, carried(wrapped.payload, carrier))
        assert_sent(outcome, wrapped.kind.name.lower(), wrapped.frame, wrapped.vni, received=wrapped.received)


@pytest.mark.parametrize("kind", TUNNELS)
def test_two_of_a_kind_by_sender(site: Site, hook: Hook, kind: SourceType) -> None:
    """The longest prefix decides; IPv4 and IPv6 senders do not mix."""
    fixed: dict[str, Any] = {"vni_rule": VniRule.FIXED}
    wide = site.tunnel(kind, "wide", senders="198.51.0.0/16 2001:db8::/32", vni=1, **fixed)
    narrow = site.tunnel(kind, "narrow", slot=1, senders="198.51.100.0/24 2001:db8:7::/48", vni=2, **fixed)
    both = site.load(wide, narrow)
    wrapped = next(each for each in WRAPPED.values() if each.kind == kind)
    for source, vni, ends in (
        ("wide", 1, ("198.51.99.7", "2001:db8:8::7")),
        ("narrow", 2, ("198.51.100.7", "2001:db8:7::7")),
    ):
        for carrier, sender in zip(("IPv4", "IPv6"), ends, strict=True):
            packet = carried(wrapped.payload, carrier, src=sender)
            outcome = both.run(hook, packet)
            assert_sent(outcome, source, wrapped.frame, vni, received=wrapped.received)
    for carrier, sender in (("IPv4", "203.0.113.7"), ("IPv6", "2001:db9::7")):
        packet = carried(wrapped.payload, carrier, src=sender)
        assert_passed(both.run(hook, packet), hook, packet, "wide")


@pytest.mark.parametrize(
    ("senders", "sender", "allowed"),
    [
        ("2001:db8:7::7/128", "2001:db8:7::7", True),
        ("2001:db8:7::7/128", "2001:db8:7::6", False),
        ("2001:db8:7::/48", "2001:db8:7:ffff::1", True),
        ("2001:db8:7::/48", "2001:db8:8::1", False),
        ("2001:db8:7:8000::/49", "2001:db8:7:7fff::1", False),
        ("198.51.100.0/24", "2001:db8:7::7", False),
        ("0.0.0.0/0", "2001:db8:7::7", False),
        ("::/0", "2001:db8:7::7", True),
    ],
)
def test_senders_over_ipv6(site: Site, hook: Hook, senders: str, sender: str, *, allowed: bool) -> None:
    packet = carried(vxlan(sip()), "IPv6", src=sender)
    outcome = site.load(site.tunnel(SourceType.VXLAN, "mirror", senders=senders)).run(hook, packet)
    if allowed:
        assert_sent(outcome, "mirror", sip(), VNI)
    else:
        assert_passed(outcome, hook, packet, "mirror")


def test_a_flow_keeps_its_port_in_every_tunnel(site: Site, hook: Hook) -> None:
    """With its Ethernet header and without, over IPv4 and IPv6."""
    datapath = site.load(*site.one_of_each())
    ports = {
        datapath.run_only(hook, carried(wrapped.payload, carrier))[1][34:36]
        for wrapped in WRAPPED.values()
        for carrier in CARRIERS
        if BARE4 in wrapped.frame
    }
    assert len(ports) == 1


def test_other_ethernet_addresses_change_nothing(site: Site, hook: Hook) -> None:
    packet = bytes(ether(dst="ff:ff:ff:ff:ff:ff"))[:12] + carried(gre(sip(), TEB))[12:]
    assert_sent(site.load(*site.one_of_each()).run(hook, packet), "gre", sip(), NO_VNI)
