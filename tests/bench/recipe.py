"""The vendor's recipe: tc mirrors what the NIC receives to a vxlan device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.bench.frames import VNI, VXLAN_PORT
from tests.bench.rig import T_METER_ADDRESS, UPLINK, Rig

DEVICE = "vxlan0"


@contextmanager
def vendors_recipe(rig: Rig) -> Iterator[None]:
    def run(command: str) -> None:
        rig.collector.run(command.split())

    with ExitStack() as undo:
        run(
            f"ip link add {DEVICE} type vxlan id {VNI} remote {T_METER_ADDRESS}"
            f" dstport {VXLAN_PORT} dev {UPLINK}"
        )
        undo.callback(run, f"ip link del {DEVICE}")
        run(f"ip link set {DEVICE} up")
        run(f"tc qdisc add dev {rig.source} clsact")
        undo.callback(run, f"tc qdisc del dev {rig.source} clsact")
        run(
            f"tc filter add dev {rig.source} ingress protocol all u32 match u32 0 0"
            f" action mirred egress mirror dev {DEVICE}"
        )
        yield
