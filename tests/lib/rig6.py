"""The rig, with IPv6 between the collector and the t-meter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from collector.operate.lab import Lab, Namespace
from tests.lib.rig import VNI, Rig, Way, along, collector, take_xdp_frames, vxlan

COLLECTOR6, T_METER6, GATEWAY6 = "2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::fe"
FAR_T_METER6, FAR_GATEWAY6 = "2001:db8:2::2", "2001:db8:2::fe"
OUTER6 = 14 + 40 + 8 + 8  # bytes in front of the inner frame: Ethernet, IPv6, UDP, VXLAN
OVERHEAD6 = 40 + 8 + 8  # of those, what counts against the path's MTU
ETHERTYPE_IPV6 = b"\x86\xdd"
UDP, FRAGMENT = 17, 44  # next headers


def is_outer6(frame: bytes) -> bool:
    """An IPv6 packet with UDP inside, or a fragment."""
    return frame[12:14] == ETHERTYPE_IPV6 and frame[20] in (UDP, FRAGMENT)


def inner6(outer: bytes) -> bytes:
    return outer[OUTER6:]


def receiver6(t_meter: Namespace, address: str, *, takes_zero_checksums: bool = False) -> None:
    """The kernel's VXLAN device over IPv6; by default it drops what has no UDP checksum."""
    vxlan(t_meter, VNI, vxlan_local6=address, vxlan_udp_zero_csum6_rx=int(takes_zero_checksums))


@contextmanager
def on_link6(hook: str, *, takes_zero_checksums: bool = False) -> Iterator[Rig]:
    with Lab() as lab:
        switch = lab.namespace("switch")
        here, t_meter = (lab.namespace(name, ipv6=True) for name in ("collector", "tmeter"))
        switch.link("span0", here, "eth1")
        here.link("eth0", t_meter, "eth0")
        here.address("eth0", f"{COLLECTOR6}/64")
        t_meter.address("eth0", f"{T_METER6}/64")
        take_xdp_frames(t_meter, "eth0")
        receiver6(t_meter, T_METER6, takes_zero_checksums=takes_zero_checksums)
        with collector(here) as tool:
            yield Rig(lab, hook, switch, tool, t_meter)


def behind_gateway6(hook: str) -> AbstractContextManager[Rig]:
    forwarding = "net.ipv6.conf.all.forwarding"
    way = Way(COLLECTOR6, GATEWAY6, FAR_GATEWAY6, FAR_T_METER6, "64", forwarding)
    return along(way, hook, lambda t_meter: receiver6(t_meter, FAR_T_METER6), ipv6=True)
