"""The NICs of this host: what they are, what they can do, and the settings a source needs of them."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from pyroute2.ethtool.ioctl import IoctlEthtool, NotSupportedError
from pyroute2.iproute import IPRoute
from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST, genlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket

IFF_UP = 0x1
IFF_PROMISC = 0x100
ARPHRD_ETHER = 1
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 3
_RT_SCOPE_LINK = 253
_NO_SUCH_FAMILY = 2
XDP_BASIC = 1  # enum netdev_xdp_act, linux/netdev.h
XDP_NDO_XMIT = 4

_XDP_MODES = {None: None, "xdpgeneric": "xdp-generic"}

# Each makes several frames into one, or takes a VLAN tag away, before a program can see it.
MERGING = ("rx-lro", "rx-gro-hw")
ALTERING = (*MERGING, "rx-gro", "rx-gro-list", "rx-udp-gro-forwarding", "rx-vlan-hw-parse",
            "rx-vlan-filter", "rx-vlan-stag-hw-parse", "rx-vlan-stag-filter")  # fmt: skip


@dataclass(frozen=True)
class Feature:
    """An offload, by the kernel's name for it (`ethtool -k` shows some under older ones)."""

    on: bool
    changeable: bool


@dataclass(frozen=True)
class Nic:
    ifindex: int
    name: str
    mac: str
    mtu: int
    driver: str
    up: bool
    carrier: bool
    promiscuous: bool
    ethernet: bool
    master: int  # ifindex of the bridge or bond that it is a port of; 0 for none
    lower: int  # ifindex of the NIC that it stands on, as a VLAN device does; 0 for none
    addresses: tuple[str, ...]  # with prefix length; link-local ones left out
    features: Mapping[str, Feature]
    xdp_mode: str | None  # "xdp-native" or "xdp-generic" if a program is attached, ours or not
    xdp_program: int
    xdp_features: int | None  # NETDEV_XDP_ACT_* bits; None before Linux 6.3
    drops: Mapping[str, int] = field(default_factory=dict, compare=False)  # since it exists, by place


# Frames that a NIC lost before or after the collector: interface statistics of the kernel.
_DROPS = {
    "receive": "rx_dropped",
    "receive_missed": "rx_missed_errors",
    "receive_error": "rx_errors",
    "transmit": "tx_dropped",
    "transmit_error": "tx_errors",
}


def read_nics(netlink: IPRoute) -> tuple[Nic, ...]:
    addresses = _addresses(netlink)
    xdp = xdp_features()
    return tuple(_nic(link, addresses, xdp) for link in _links(netlink))


def read_nics_briefly(netlink: IPRoute, ifindexes: Set[int]) -> tuple[Nic, ...]:
    """What the kernel says of the links in one answer, and the offloads of `ifindexes`; no address, and
    nothing else that drivers say of themselves."""
    return tuple(_brief_nic(link, ifindexes) for link in _links(netlink))


def _links(netlink: IPRoute) -> Iterator[Any]:
    return (link for link in netlink.get_links() if link.get_attr("IFLA_IFNAME") != "lo")


def _nic(link: Any, addresses: Mapping[int, list[str]], xdp: Mapping[int, int] | None) -> Nic:
    each = _brief_nic(link, {int(link["index"])})
    return replace(
        each,
        driver=driver(each.name),
        addresses=tuple(addresses.get(each.ifindex, ())),
        xdp_features=None if xdp is None else xdp.get(each.ifindex, 0),
    )


def _brief_nic(link: Any, with_features: Set[int]) -> Nic:
    name, ifindex = str(link.get_attr("IFLA_IFNAME")), int(link["index"])
    attached = link.get_attr("IFLA_XDP")
    mode = attached.get_attr("IFLA_XDP_ATTACHED") if attached else None
    return Nic(
        ifindex=ifindex,
        name=name,
        mac=str(link.get_attr("IFLA_ADDRESS") or ""),
        mtu=int(link.get_attr("IFLA_MTU")),
        driver="",
        up=bool(link["flags"] & IFF_UP),
        carrier=bool(link.get_attr("IFLA_CARRIER")),
        promiscuous=bool(link["flags"] & IFF_PROMISC),
        ethernet=link["ifi_type"] == ARPHRD_ETHER,
        master=int(link.get_attr("IFLA_MASTER") or 0),
        lower=_lower(link),
        addresses=(),
        features=read_features(name) if ifindex in with_features else {},
        xdp_mode=_XDP_MODES.get(mode, "xdp-native"),  # "xdp", or "xdpoffload" on a smart NIC
        xdp_program=int(attached.get_attr("IFLA_XDP_PROG_ID") or 0) if attached else 0,
        xdp_features=None,
        drops={where: int(link.get_attr("IFLA_STATS64")[key]) for where, key in _DROPS.items()},
    )


def _lower(link: Any) -> int:
    """A veth's peer is named in the same attribute, and is not below it."""
    information = link.get_attr("IFLA_LINKINFO")
    kind = information.get_attr("IFLA_INFO_KIND") if information else None
    elsewhere = link.get_attr("IFLA_LINK_NETNSID") is not None
    return 0 if elsewhere or kind == "veth" else int(link.get_attr("IFLA_LINK") or 0)


def _addresses(netlink: IPRoute) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for message in netlink.get_addr():
        if message["scope"] != _RT_SCOPE_LINK:
            address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            found.setdefault(message["index"], []).append(f"{address}/{message['prefixlen']}")
    return found


def driver(name: str) -> str:
    """The driver's name (SIOCETHTOOL, ETHTOOL_GDRVINFO), or "" where it does not tell."""
    information = array.array("B", struct.pack("I192x", _ETHTOOL_GDRVINFO))
    request = struct.pack("16sP16x", name.encode(), information.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError:
            return ""
    return information.tobytes()[4:36].rstrip(b"\0").decode()


def read_features(name: str) -> dict[str, Feature]:
    ethtool = IoctlEthtool(name)
    try:
        return {
            feature: Feature(bool(on), bool(changeable))
            for feature, on, changeable, *_ in ethtool.get_features()
        }
    except NotSupportedError:
        return {}
    finally:
        ethtool.close()


def set_feature(name: str, feature: str, on: bool) -> None:
    ethtool = IoctlEthtool(name)
    try:
        features = ethtool.get_features()
        features[feature] = on
        ethtool.set_features(features)
    finally:
        ethtool.close()


def set_promiscuous(netlink: IPRoute, ifindex: int, on: bool) -> None:
    netlink.link("set", index=ifindex, flags=IFF_PROMISC if on else 0, mask=IFF_PROMISC)


def set_up(netlink: IPRoute, ifindex: int, on: bool) -> None:
    netlink.link("set", index=ifindex, state="up" if on else "down")


class _NetdevMessage(genlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """linux/netdev.h, NETDEV_CMD_DEV_GET."""

    nla_map = (
        ("NETDEV_A_DEV_UNSPEC", "none"),
        ("NETDEV_A_DEV_IFINDEX", "uint32"),
        ("NETDEV_A_DEV_PAD", "none"),
        ("NETDEV_A_DEV_XDP_FEATURES", "uint64"),
    )


def xdp_features() -> dict[int, int] | None:
    """What each driver says it can do with XDP now; None where the kernel cannot be asked."""
    with GenericNetlinkSocket() as netlink:
        try:
            netlink.bind("netdev", _NetdevMessage)
        except NetlinkError as error:
            if error.code == _NO_SUCH_FAMILY:
                return None
            raise
        message = _NetdevMessage()
        message["cmd"], message["version"] = 1, 1
        answers = netlink.nlm_request(message, msg_type=netlink.prid, msg_flags=NLM_F_REQUEST | NLM_F_DUMP)
        return {
            answer.get_attr("NETDEV_A_DEV_IFINDEX"): answer.get_attr("NETDEV_A_DEV_XDP_FEATURES") or 0
            for answer in answers
        }
