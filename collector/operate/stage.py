"""The five machines of the demo and the cables between them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from collector.operate.lab import Lab, Namespace

PHONE, PBX, UPLINK, T_METER = "192.0.2.10", "192.0.2.20", "203.0.113.1", "203.0.113.10"
VNI = 12

PICTURE = f"""
   phone {PHONE} ------ switch ------ PBX {PBX}
                               |
                               |  mirror port: a copy of every frame
                               v
                      eth1  collector   eth0 {UPLINK}
                               |
                               |  VXLAN, VNI {VNI}
                               v
                            t-meter {T_METER}
"""


@dataclass(frozen=True)
class Stage:
    phone: Namespace
    pbx: Namespace
    switch: Namespace
    collector: Namespace
    tmeter: Namespace


def build(lab: Lab) -> Stage:
    stage = Stage(*(lab.namespace(field.name) for field in fields(Stage)))
    _connect_phone_system(stage)
    stage.switch.link("span", stage.collector, "eth1")
    stage.switch.mirror("port1", "span")
    stage.switch.mirror("port2", "span")
    stage.collector.link("eth0", stage.tmeter, "eth0")
    stage.collector.address("eth0", f"{UPLINK}/24")
    stage.tmeter.address("eth0", f"{T_METER}/24")
    # A veth takes frames that XDP redirected to it only while its NAPI runs; GRO turns that on.
    stage.tmeter.features("eth0", {"rx-gro": True})
    return stage


def _connect_phone_system(stage: Stage) -> None:
    stage.phone.link("eth0", stage.switch, "port1")
    stage.pbx.link("eth0", stage.switch, "port2")
    stage.phone.address("eth0", f"{PHONE}/24")
    stage.pbx.address("eth0", f"{PBX}/24")
    stage.switch.bridge("br0", ["port1", "port2"])
