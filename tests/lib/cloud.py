"""A cloud network: one NIC each for the mirror, the collector and the t-meter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from collector.operate.lab import Lab, Namespace
from tests.lib.rig import COLLECTOR, T_METER, Collector, collector, take_xdp_frames, vxlan
from tests.lib.tap import Tap, is_outer

CLOUD, STRANGER = "192.0.2.17", "192.0.2.99"
VNIS = (17, 18, 19)


@dataclass
class Cloud:
    """The mirror sends with the kernel's VXLAN devices: vx17, vx18, vx19; `stranger` has another address."""

    lab: Lab
    hook: str
    tool: Collector
    mirror: Namespace
    t_meter: Namespace

    @property
    def collector(self) -> Namespace:
        return self.tool.namespace

    def apply(self, **keys: object) -> None:
        source = {"name": "aws", "type": "vxlan", "interface": "eth0", "hook": self.hook, **keys}
        self.tool.apply([source])

    def uplink(self) -> Tap:
        return Tap(self.t_meter, "eth0", is_outer)


@contextmanager
def one_network(hook: str) -> Iterator[Cloud]:
    with Lab() as lab:
        names = ("network", "collector", "cloud", "tmeter")
        network, here, mirror, t_meter = machines = [lab.namespace(name) for name in names]
        for machine, address in zip(machines[1:], (COLLECTOR, CLOUD, T_METER), strict=True):
            machine.link("eth0", network, machine.name)
            machine.address("eth0", f"{address}/24")
        mirror.address("eth0", f"{STRANGER}/24")
        network.bridge("br0", names[1:])
        take_xdp_frames(network, "collector")
        for vni in VNIS:
            vxlan(mirror, vni, vxlan_group=COLLECTOR, vxlan_local=CLOUD)
        vxlan(mirror, 20, name="stranger", vxlan_group=COLLECTOR, vxlan_local=STRANGER)
        with collector(here) as tool:
            yield Cloud(lab, hook, tool, mirror, t_meter)
