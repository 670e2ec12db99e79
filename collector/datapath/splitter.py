"""The splitter: a veth pair of ours, for what a program cannot do itself.

What is redirected into one end comes out of the other as the kernel would have put it on a wire:
superframes split, checksums complete. No address, no protocol, nothing else ever enters it.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path

from pyroute2.iproute import IPRoute

from collector.datapath import nic

TX = "collector-tx"
RX = "collector-rx"
_LARGEST_FRAME = 65000  # bytes; no superframe's segment is larger
_ADDRESS_GENERATION_NONE = 1


@dataclass(frozen=True)
class Splitter:
    tx: int  # ifindex
    rx: int
    up: bool = field(default=True, compare=False)


def find(nics: tuple[nic.Nic, ...]) -> Splitter | None:
    by_name = {each.name: each for each in nics}
    if TX not in by_name or RX not in by_name:
        return None
    tx, rx = by_name[TX], by_name[RX]
    return Splitter(tx.ifindex, rx.ifindex, tx.up and rx.up)


def is_there() -> bool:
    """A part of it, at least; by the cheapest way."""
    return any(name in (TX, RX) for _, name in socket.if_nameindex())


def create(netlink: IPRoute) -> Splitter:
    netlink.link(
        "add", kind="veth", ifname=TX, mtu=_LARGEST_FRAME, peer={"ifname": RX, "mtu": _LARGEST_FRAME}
    )
    tx, rx = (netlink.link_lookup(ifname=name)[0] for name in (TX, RX))
    for name in (TX, RX):
        _silence(name)
    for feature, state in nic.read_features(TX).items():
        if feature.startswith("tx-") and state.on and state.changeable:
            nic.set_feature(TX, feature, False)
    for feature in nic.ALTERING:
        state = nic.read_features(RX).get(feature, nic.Feature(False, False))
        if state.on and state.changeable:
            nic.set_feature(RX, feature, False)
    return Splitter(tx, rx)


def start(netlink: IPRoute, splitter: Splitter) -> None:
    """Once the program is attached: until then the far end would hand frames to the host."""
    for ifindex in (splitter.rx, splitter.tx):
        nic.set_up(netlink, ifindex, True)


def remove(netlink: IPRoute) -> None:
    for ifindex in netlink.link_lookup(ifname=TX):
        netlink.link("del", index=ifindex)


def _silence(name: str) -> None:
    """No IPv6: it would send router solicitations into the pair as soon as it is up."""
    file = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
    if file.exists():
        file.write_text("1\n")
