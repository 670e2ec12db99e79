"""Hosts that exist on paper: for what is decided without asking a kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from collector.control import config as reading
from collector.control.config import ConfigFile
from collector.control.host import LOOPBACK, Host
from collector.control.models import Config
from collector.control.notes import Notes, Tuning
from collector.control.state import State
from collector.datapath import nic
from collector.datapath.nic import Feature, Nic
from collector.datapath.tmeter import Neighbour, Route

NETNS = 4026531840
UPLINK, SPAN, SPARE = 2, 3, 4  # ifindexes of eth0, eth1, eth2
NATIVE = nic.XDP_BASIC | nic.XDP_NDO_XMIT
ROUTE = Route(
    UPLINK, IPv4Address("203.0.113.10"), IPv4Address("192.0.2.1"), IPv4Address("192.0.2.254"), 1500
)  # fmt: skip
ROUTE6 = Route(
    UPLINK, IPv6Address("2001:db8:7::10"), IPv6Address("2001:db8::1"), IPv6Address("fe80::1"), 1500
)
GATEWAY = Neighbour(UPLINK, ROUTE.next_hop)
FORWARDING, FORWARDING6 = (Tuning(LOOPBACK, "sysctl", f"{family}.forwarding") for family in ("ipv4", "ipv6"))

T_METERS = "t_meters: [{name: ohio, address: 203.0.113.10}]"
T_METERS6 = 't_meters: [{name: ohio, address: "2001:db8:7::10"}]'
SPAN_SOURCE = "{name: pbx, type: span, interface: eth1}"
CLOUD_SOURCE = "{name: aws, type: vxlan, interface: eth0}"

ON, OFF, FIXED_ON, FIXED_OFF = (
    Feature(True, True),
    Feature(False, True),
    Feature(True, False),
    Feature(False, False),
)
FEATURES = {
    "rx-gro": ON,
    "rx-lro": FIXED_OFF,
    "rx-gro-hw": ON,
    "rx-vlan-hw-parse": ON,
    "rx-vlan-filter": FIXED_ON,
    "tx-checksum-ip-generic": ON,
}


def file(*sources: str, t_meters: str = T_METERS) -> ConfigFile:
    return reading.load_text(f"version: 1\nsources: [{', '.join(sources)}]\n{t_meters}\n", "c.yaml")


def config(*sources: str, t_meters: str = T_METERS) -> Config:
    return file(*sources, t_meters=t_meters).config


def a_nic(ifindex: int, name: str, **other: object) -> Nic:
    plain = Nic(
        ifindex, name, f"02:00:00:00:00:0{ifindex}", 1500, "ixgbe", up=True, carrier=True, promiscuous=False,
        ethernet=True, master=0, lower=0, addresses=(), features=FEATURES, xdp_mode=None, xdp_program=0,
        xdp_features=NATIVE,
    )  # fmt: skip
    return replace(plain, **other)  # type: ignore[arg-type]


NICS = (a_nic(UPLINK, "eth0"), a_nic(SPAN, "eth1", up=False), a_nic(SPARE, "eth2"))


def tunings(nics: tuple[Nic, ...]) -> dict[Tuning, str]:
    """As read_host finds them."""
    found = {FORWARDING: "0", FORWARDING6: "0"}
    for each in nics:
        found[Tuning(each.ifindex, "flag", "up")] = "on" if each.up else "off"
        found[Tuning(each.ifindex, "flag", "promiscuous")] = "on" if each.promiscuous else "off"
        found[Tuning(each.ifindex, "sysctl", "ipv4.arp_evict_nocarrier")] = "1"
        found[Tuning(each.ifindex, "sysctl", "ipv6.ndisc_evict_nocarrier")] = "1"
        found[Tuning(each.ifindex, "sysctl", "ipv6.disable_ipv6")] = "0"
        found |= {
            Tuning(each.ifindex, "feature", name): "on" if feature.on else "off"
            for name, feature in each.features.items()
            if name in nic.ALTERING and (feature.changeable or feature.on)
        }
    return found


def a_host(nics: tuple[Nic, ...] = NICS, **other: object) -> Host:
    blank = Host(
        NETNS, nics, ROUTE, frozenset({4}), tunings(nics), splitter=None, losses=True, build="b1",
        notes=Notes(), state=State(),
    )  # fmt: skip
    return replace(blank, **other)  # type: ignore[arg-type]


HOST = a_host()


def with_nic(ifindex: int, **other: object) -> Host:
    """HOST, with something else about one of its NICs."""
    changed = {each.ifindex: each for each in NICS}
    changed[ifindex] = replace(changed[ifindex], **other)  # type: ignore[arg-type]
    return a_host(tuple(changed.values()))
