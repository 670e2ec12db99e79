"""A mirror's namespace, the collector's and the t-meter's, with sources of every type configured; and what
the reference says of the packets that are sent there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from collector.datapath.settings import Oversize, Settings, Source, SourceType, TMeter, VniRule
from collector.operate.lab import Lab, Namespace, wait_for
from tests.lib.datapath import TUNNEL_PORTS
from tests.lib.judge import Ends
from tests.lib.reference import Fate, Fragments, fate
from tests.lib.rig import COLLECTOR, T_METER, Collector, Figures, collector, take_xdp_frames
from tests.lib.rig6 import COLLECTOR6, T_METER6
from tests.lib.tap import Tap

TUNNELS, SPAN, UPLINK = "eth1", "eth2", "eth0"
ADDRESSES = {4: (COLLECTOR, T_METER, 24), 6: (COLLECTOR6, T_METER6, 64)}
MTU, MIRRORS_MTU = 1500, 2000
Content = tuple[int, bytes]  # VNI, frame

WIDE = {"from": ["198.51.0.0/16", "2001:db8::/36"]}
NARROW = {"from": ["203.0.113.0/24", "2001:db8:ffff::/48"]}
SOURCES: list[dict[str, Any]] = [
    {"name": "vxlan", "type": "vxlan", "vni": {17: 101, 0x123456: 0x654321}, **WIDE},
    {"name": "vxlan-narrow", "type": "vxlan", "vni": "keep", "vlan": "strip", **NARROW},
    {"name": "vxlan-port", "type": "vxlan", "port": 4790, "vni": 2**24 - 1},
    {"name": "geneve", "type": "geneve", "vni": "keep", **WIDE},
    {"name": "geneve-narrow", "type": "geneve", "vni": {17: 102, "default": 103}, **NARROW},
    {"name": "gre", "type": "gre", "vni": 104, **WIDE},
    {"name": "gre-narrow", "type": "gre", "vni": 0, **NARROW},
    {"name": "erspan", "type": "erspan", "vni": {1023: 105, 0: 106}, **WIDE},
    {"name": "erspan-narrow", "type": "erspan", "vni": "keep", **NARROW},
    {"name": "tzsp", "type": "tzsp", "vni": 107, "vlan": "strip", **WIDE},
    {"name": "tzsp-narrow", "type": "tzsp", "vni": 108, **NARROW},
    {"name": "ipip", "type": "ipip", "vni": 109, **WIDE},
    {"name": "ipip-narrow", "type": "ipip", "vni": 110, **NARROW},
    {"name": "pbx", "type": "span", "vni": 12},
]


@dataclass(frozen=True)
class Case:
    packet: bytes
    fate: Fate
    longer: bool  # the packet goes on behind the end that its lengths tell, or is too large

    @property
    def content(self) -> Content:
        return self.fate.vni, self.fate.frame


@dataclass
class Siege:
    """mirror eth1, eth2 -> eth1, eth2 collector eth0 -> eth0 t-meter"""

    hook: str
    tool: Collector
    mirror: Namespace
    t_meter: Namespace
    settings: Settings  # as the reference takes them

    @property
    def collector(self) -> Namespace:
        return self.tool.namespace

    def uplink(self) -> Tap:
        """All that reaches the t-meter, but for the search for it."""
        return Tap(self.t_meter, UPLINK, lambda frame: not _finds_neighbours(frame))

    def ends(self) -> Ends:
        tmeter, macs = self.settings.tmeter, (self.collector.mac(UPLINK), self.t_meter.mac(UPLINK))
        return Ends(macs, tmeter.source, tmeter.address, tmeter.udp_checksum)

    def accounted(self, packets: int) -> Figures:
        """The status once so many packets are in it, whatever became of them."""
        seen: list[Figures] = []

        def all_there() -> bool:
            seen.append(self.tool.status())
            return seen[-1].frames + seen[-1].passed >= packets

        wait_for(all_there, f"{packets} packets in the status")
        return seen[-1]

    def fates(self, nic: str, packets: Iterable[bytes]) -> list[Case]:
        """Of those that a veth carries. At XDP too it is tc's: what XDP does not finish, tc does. Those whose
        checksum is to be completed are other tests' matter."""
        ifindex, fragments = self.collector.index(nic), Fragments()
        cases = []
        for packet in filter(_possible, packets):
            at_tc = fate(self.settings, ifindex, packet, "tc", fragments)
            if not at_tc.partial:
                longer = fate(self.settings, ifindex, packet, "xdp", fragments).left_to_tc
                cases.append(Case(packet, at_tc, longer))
        return cases


def _finds_neighbours(frame: bytes) -> bool:
    """ARP, or ICMPv6."""
    return frame[12:14] == b"\x08\x06" or (frame[12:14] == b"\x86\xdd" and frame[20] in {0, 58})


def _possible(packet: bytes) -> bool:
    """Whether the kernel takes it, and brings it as far as tc: it throws away a tag that is cut short."""
    tagged = packet[12:14] in {b"\x81\x00", b"\x88\xa8"}
    return (20 if tagged else 14) <= len(packet) <= 14 + MIRRORS_MTU


@contextmanager
def siege(hook: str, version: int) -> Iterator[Siege]:
    source, address, bits = ADDRESSES[version]
    with Lab() as lab:
        mirror = lab.namespace("mirror")
        here, t_meter = (lab.namespace(name, ipv6=version == 6) for name in ("collector", "tmeter"))
        here.link(UPLINK, t_meter, UPLINK, mtu=MTU)
        here.address(UPLINK, f"{source}/{bits}")
        t_meter.address(UPLINK, f"{address}/{bits}")
        take_xdp_frames(t_meter, UPLINK)
        for nic in (TUNNELS, SPAN):
            mirror.link(nic, here, nic, mtu=MIRRORS_MTU)
            here.sysctl(f"net/ipv6/conf/{nic}/disable_ipv6", 1)
        with collector(here) as tool:
            tool.apply([_configured(keys, hook) for keys in SOURCES], address=address, oversize="drop")
            yield Siege(hook, tool, mirror, t_meter, _settings(here, version))


def _configured(keys: dict[str, Any], hook: str) -> dict[str, Any]:
    return {**keys, "interface": SPAN if keys["type"] == "span" else TUNNELS, "hook": hook}


# The same once more, for the reference


def _settings(here: Namespace, version: int) -> Settings:
    source, address, _ = map(str, ADDRESSES[version])
    ends = {"source": ip_address(source), "address": ip_address(address)}
    tmeter = TMeter(
        "tm", **ends, port=4789, path_mtu=MTU, oversize=Oversize.DROP, ifindex=0, udp_checksum=version == 6
    )
    return Settings(0, tmeter, tuple(_source(here, slot, keys) for slot, keys in enumerate(SOURCES)))


def _source(here: Namespace, slot: int, keys: dict[str, Any]) -> Source:
    kind = SourceType[keys["type"].upper()]
    return Source(
        slot,
        keys["name"],
        kind,
        here.index(SPAN if kind == SourceType.SPAN else TUNNELS),
        strip_vlan=keys.get("vlan") == "strip",
        port=keys.get("port", TUNNEL_PORTS.get(kind, 0)),
        senders=tuple(map(ip_network, keys.get("from", ["0.0.0.0/0", "::/0"]))),
        **_vni(keys["vni"]),
    )


def _vni(rule: object) -> dict[str, Any]:
    if isinstance(rule, dict):
        numbers = {key: value for key, value in rule.items() if key != "default"}
        return {"vni_rule": VniRule.MAP, "vni_map": tuple(numbers.items()), "vni": rule.get("default")}
    return {"vni_rule": VniRule.KEEP} if rule == "keep" else {"vni_rule": VniRule.FIXED, "vni": rule}
