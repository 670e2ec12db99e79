"""The way to the t-meter: route, path MTU, and the neighbour that takes the outer packets."""

from __future__ import annotations

import errno
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.datapath.settings import Address

RTN_UNICAST = 1
RTN_LOCAL = 2
RT_TABLE_MAIN = 254
NUD_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80  # has a usable link-layer address
NUD_PERMANENT = 0x80
NOWHERE: Address = IPv4Address(0)
_NO_IPV6 = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT)  # answers of a kernel that was started without it
NTF_EXT_MANAGED = 1  # the kernel keeps it resolved; linux/neighbour.h, since Linux 5.16


@dataclass(frozen=True)
class Route:
    """What the kernel would do with a packet of its own. `refusal`: why it would not send it."""

    ifindex: int = 0
    address: Address = NOWHERE  # of the t-meter
    source: Address = NOWHERE
    next_hop: Address = NOWHERE
    path_mtu: int = 0  # bytes, IP header included: the NIC's, or what the route or the path says
    refusal: str = ""


def _family(address: Address) -> int:
    return AF_INET if address.version == 4 else AF_INET6


NO_ROUTE = Route(refusal="no t-meter is configured")


@dataclass(frozen=True)
class Neighbour:
    ifindex: int
    address: Address


def find_route(netlink: IPRoute, address: Address) -> Route:
    try:
        (message,) = netlink.route("get", dst=str(address), family=_family(address))
    except NetlinkError as error:
        if error.code in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES, *_NO_IPV6):
            return Route(address=address, refusal="this host has no route to it")
        raise
    if message["type"] == RTN_LOCAL:
        return Route(address=address, refusal="it is an address of this host")
    if message["type"] != RTN_UNICAST:
        return Route(address=address, refusal="its route is blocked, or it is a broadcast address here")
    ifindex = int(message.get_attr("RTA_OIF"))
    if not message.get_attr("RTA_PREFSRC"):
        return Route(address=address, refusal="this host has no address to send from on that way")
    return Route(
        ifindex=ifindex,
        address=address,
        source=ip_address(message.get_attr("RTA_PREFSRC")),
        next_hop=ip_address(message.get_attr("RTA_GATEWAY") or str(address)),
        path_mtu=min(_route_mtu(message), _link_mtu(netlink, ifindex)),
    )


def default_routes(netlink: IPRoute) -> frozenset[int]:
    """The IP versions of which this host sends an address to somebody, whichever it is."""
    families = {4: AF_INET, 6: AF_INET6}
    return frozenset(
        version
        for version, family in families.items()
        for message in netlink.get_routes(family=family, dst_len=0)
        if message["dst_len"] == 0 and message["type"] == RTN_UNICAST and message["table"] == RT_TABLE_MAIN
    )


def _route_mtu(message: Any) -> int:
    metrics = message.get_attr("RTA_METRICS")
    return int(metrics.get_attr("RTAX_MTU") or 65535) if metrics else 65535


def _link_mtu(netlink: IPRoute, ifindex: int) -> int:
    return int(netlink.get_links(ifindex)[0].get_attr("IFLA_MTU"))


def kept_neighbours(netlink: IPRoute) -> frozenset[Neighbour]:
    """Those that stay resolved without us: managed by the kernel, or fixed by the administrator."""
    return frozenset(
        Neighbour(message["ifindex"], ip_address(message.get_attr("NDA_DST")))
        for family in (AF_INET, AF_INET6)
        for message in netlink.get_neighbours(family=family)
        if _is_managed(message) or message["state"] & NUD_PERMANENT
    )


def _is_managed(message: Any) -> bool:
    return bool((message.get_attr("NDA_FLAGS_EXT") or 0) & NTF_EXT_MANAGED)


def neighbour_state(netlink: IPRoute, neighbour: Neighbour) -> int:
    """NUD_* bits; 0 where the kernel does not know it."""
    for message in netlink.get_neighbours(family=_family(neighbour.address), ifindex=neighbour.ifindex):
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
        family=_family(neighbour.address),
        state=0,
        flags_ext=NTF_EXT_MANAGED,
    )


def forget_neighbour(netlink: IPRoute, neighbour: Neighbour) -> None:
    if neighbour_state(netlink, neighbour) & NUD_PERMANENT:
        return
    try:
        netlink.neigh(
            "del", dst=str(neighbour.address), ifindex=neighbour.ifindex, family=_family(neighbour.address)
        )
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
