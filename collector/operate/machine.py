"""One machine of the lab: its cables, addresses, settings and counters, by netlink."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pyroute2 import netns
from pyroute2.ethtool.ioctl import IoctlEthtool, NotSupportedError
from pyroute2.iproute import IPRoute

from collector.errors import HostError

ETH_P_ALL = 0x0003
INGRESS = 0xFFFFFFF2  # the receive side of a clsact qdisc
IFA_F_NODAD = 0x02
NUD_PERMANENT = 0x80


class Machine:
    """`ipr` is a netlink socket inside the namespace at `path`, for what the methods do not cover."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self._handle = os.open(path, os.O_RDONLY)
        with self.enter():
            self.ipr = IPRoute(ext_ack=True)

    def close(self) -> None:
        with ExitStack() as both:
            both.callback(os.close, self._handle)
            both.callback(self.ipr.close)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Moves the calling thread, and no other, into the namespace; a socket opened here stays in it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            netns.setns(self._handle)
            yield
        finally:
            netns.setns(home)
            os.close(home)

    # Cables and addresses

    def link(
        self,
        name: str,
        peer: Machine,
        peer_name: str,
        *,
        mtu: int = 1500,
        macs: tuple[str, str] | None = None,
        offload: bool = False,
    ) -> None:
        """A cable (veth) between two machines, both ends up. With `offload=False` frames leave with full
        checksums, as on a real wire; a veth otherwise passes on the unfinished ones of local sockets."""
        mine, theirs = ({"address": mac} for mac in macs) if macs else ({}, {})
        there = {"ifname": peer_name, "net_ns_fd": peer._handle, "mtu": mtu, **theirs}
        self.ipr.link("add", kind="veth", ifname=name, mtu=mtu, peer=there, **mine)
        for end, ifname in ((self, name), (peer, peer_name)):
            if not offload:
                end.features(ifname, {"tx-checksum-ip-generic": False})
            end.up(ifname)

    def bridge(self, name: str, ports: Sequence[str]) -> None:
        """A switch that forwards at once and says nothing of its own: no spanning tree, no IGMP queries."""
        quiet = {"br_stp_state": 0, "br_forward_delay": 0, "br_mcast_snooping": 0}
        self.ipr.link("add", kind="bridge", ifname=name, **quiet)
        for port in ports:
            self.ipr.link("set", index=self.index(port), master=self.index(name))
        self.up(name)

    def mirror(self, port: str, destination: str) -> None:
        """Copies each frame that enters `port` to `destination`, as a SPAN port is fed.
        With all ports of a bridge mirrored, each frame is seen once."""
        index = self.index(port)
        copy = {
            "kind": "mirred",
            "direction": "egress",
            "action": "mirror",
            "ifindex": self.index(destination),
        }
        self.ipr.tc("add", "clsact", index)
        self.ipr.tc(
            "add-filter",
            "u32",
            index,
            parent=INGRESS,
            protocol=ETH_P_ALL,
            prio=1,
            target=INGRESS,
            keys=["0x0/0x0+0"],
            action=copy,
        )

    def address(self, ifname: str, address: str) -> None:
        interface = ipaddress.ip_interface(address)
        skip_detection = {"flags": IFA_F_NODAD} if interface.version == 6 else {}
        self.ipr.addr(
            "add",
            index=self.index(ifname),
            address=str(interface.ip),
            prefixlen=interface.network.prefixlen,
            **skip_detection,
        )

    def route(self, destination: str, via: str) -> None:
        self.ipr.route("add", dst=destination, gateway=via)

    def neighbour(self, ifname: str, address: str, mac: str) -> None:
        """A fixed entry of the ARP or neighbour table; it replaces what was there."""
        self.ipr.neigh("replace", ifindex=self.index(ifname), dst=address, lladdr=mac, state=NUD_PERMANENT)

    def up(self, ifname: str) -> None:
        self.ipr.link("set", index=self.index(ifname), state="up")

    def down(self, ifname: str) -> None:
        self.ipr.link("set", index=self.index(ifname), state="down")

    # Settings

    def features(self, ifname: str, wanted: Mapping[str, bool] | None = None) -> dict[str, bool]:
        """Sets the offloads in `wanted` ("rx-gro", "tx-checksum-ip-generic"); returns all as they now are."""
        with self.enter():
            ethtool = IoctlEthtool(ifname)
        try:
            if wanted:
                _set_features(ethtool, wanted)
            active = {name: enabled for name, enabled, *_ in ethtool.get_features()}
        finally:
            ethtool.close()
        refused = [name for name, value in (wanted or {}).items() if active[name] != value]
        if refused:
            raise HostError(f"{ifname} in {self.name} refuses to change {', '.join(refused)}")
        return active

    def sysctl(self, key: str, value: str | int | None = None) -> str:
        """Reads, or writes first. Write the key with slashes where a part of it has a dot ("eth0.5")."""
        file = Path("/proc/sys") / (key if "/" in key else key.replace(".", "/"))
        with self.enter():
            if value is not None:
                file.write_text(f"{value}\n")
            return file.read_text().strip()

    def disable_ipv6(self) -> None:
        with self.enter():
            for scope in ("all", "default"):
                file = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
                if file.exists():  # absent where the kernel was started without IPv6
                    file.write_text("1\n")

    # Looking

    def index(self, ifname: str) -> int:
        found = self.ipr.link_lookup(ifname=ifname)
        if not found:
            raise HostError(f"There is no interface {ifname} in {self.name}")
        return int(found[0])

    def interfaces(self) -> list[str]:
        return [str(link.get_attr("IFLA_IFNAME")) for link in self.ipr.get_links()]

    def mac(self, ifname: str) -> str:
        return str(self.ipr.get_links(self.index(ifname))[0].get_attr("IFLA_ADDRESS"))

    def stats(self, ifname: str) -> dict[str, int]:
        """The kernel's counters: rx_packets, tx_packets, rx_bytes, tx_bytes, rx_dropped, tx_dropped, ..."""
        return dict(self.ipr.get_links(self.index(ifname))[0].get_attr("IFLA_STATS64"))

    def udp_queues(self, port: int) -> list[int]:
        """Bytes waiting in each UDP socket bound to `port`; empty when nobody listens."""
        lines: list[str] = []
        with self.enter():
            for table in map(Path, ("/proc/thread-self/net/udp", "/proc/thread-self/net/udp6")):
                lines += table.read_text().splitlines()[1:] if table.exists() else []
        rows = [line.split() for line in lines]
        return [int(row[4].split(":")[1], 16) for row in rows if int(row[1].rsplit(":", 1)[1], 16) == port]


def _set_features(ethtool: IoctlEthtool, wanted: Mapping[str, bool]) -> None:
    features = ethtool.get_features()
    for name, value in wanted.items():
        features[name] = value
    with suppress(NotSupportedError):  # says neither which nor why; the caller reads again and compares
        ethtool.set_features(features)
