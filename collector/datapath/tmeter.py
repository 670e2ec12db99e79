"""The way to the t-meter: route, path MTU, and the neighbour that takes the outer packets."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

RTN_UNICAST = 1
RTN_LOCAL = 2
NUD_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # has a usable link-layer address
NUD_PERMANENT = 0x80
NOWHERE = IPv4Address(0)
NTF_EXT_MANAGED = 1  # the kernel keeps it resolved; linux/neighbour.h, since Linux 5.16


@dataclass(frozen=True)
class Route:
    """What the kernel would do with a packet of its own. `refusal`: why it would not send it."""

    ifindex: int = 0
    source: IPv4Address = NOWHERE
    next_hop: IPv4Address = NOWHERE
    path_mtu: int = 0  # bytes, IP header included: the NIC's, or what the route or the path says
    refusal: str = ""


NO_ROUTE = Route(refusal="no t-meter is configured")


@dataclass(frozen=True)
class Neighbour:
    ifindex: int
    address: IPv4Address


def find_route(netlink: IPRoute, address: IPv4Address) -> Route:
    try:
        (message,) = netlink.route("get", dst=str(address))
    except NetlinkError as error:
        if error.code in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES):
            return Route(refusal="this host has no route to it")
        raise
    if message["type"] == RTN_LOCAL:
        return Route(refusal="it is an address of this host")
    if message["type"] != RTN_UNICAST:
        return Route(refusal="it is a broadcast or multicast address here, or its route is blocked")
    ifindex = int(message.get_attr("RTA_OIF"))
    return Route(
        ifindex=ifindex,
        source=IPv4Address(message.get_attr("RTA_PREFSRC")),
        next_hop=IPv4Address(message.get_attr("RTA_GATEWAY") or address),
        path_mtu=min(_route_mtu(message), _link_mtu(netlink, ifindex)),
    )


def _route_mtu(message: Any) -> int:
    metrics = message.get_attr("RTA_METRICS")
    return int(metrics.get_attr("RTAX_MTU") or 65535) if metrics else 65535


def _link_mtu(netlink: IPRoute, ifindex: int) -> int:
    return int(netlink.get_links(ifindex)[0].get_attr("IFLA_MTU"))


def kept_neighbours(netlink: IPRoute) -> frozenset[Neighbour]:
    """Those that stay resolved without us: managed by the kernel, or fixed by the administrator."""
    return frozenset(
        Neighbour(message["ifindex"], IPv4Address(message.get_attr("NDA_DST")))
        for message in netlink.get_neighbours(family=2)
        if _is_managed(message) or message["state"] & NUD_PERMANENT
    )


def _is_managed(message: Any) -> bool:
    return bool((message.get_attr("NDA_FLAGS_EXT") or 0) & NTF_EXT_MANAGED)


def neighbour_state(netlink: IPRoute, neighbour: Neighbour) -> int:
    """NUD_* bits; 0 where the kernel does not know it."""
    for message in netlink.get_neighbours(family=2, ifindex=neighbour.ifindex):
        if message.get_attr("NDA_DST") == str(neighbour.address):
            return int(message["state"])
    return 0


def keep_neighbour(netlink: IPRoute, neighbour: Neighbour) -> None:
    """The kernel resolves it now, and again and again, with no process and no traffic of its own."""
    if neighbour_state(netlink, neighbour) & NUD_PERMANENT:
        return
    netlink.neigh(
        "replace",
        dst=str(neighbour.address),
        ifindex=neighbour.ifindex,
        state=0,
        flags_ext=NTF_EXT_MANAGED,
    )


def forget_neighbour(netlink: IPRoute, neighbour: Neighbour) -> None:
    if neighbour_state(netlink, neighbour) & NUD_PERMANENT:
        return
    try:
        netlink.neigh("del", dst=str(neighbour.address), ifindex=neighbour.ifindex)
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.ENODEV):  # went with its NIC
            raise


def wait_for_neighbour(netlink: IPRoute, neighbour: Neighbour, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not neighbour_state(netlink, neighbour) & NUD_VALID:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
