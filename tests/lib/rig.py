"""The collector between a mirror port and a t-meter, each in a network namespace, led by its command line."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Any

from collector.control.notes import instance_folder
from collector.errors import HostError
from collector.operate.lab import Lab, Namespace, ensure_bpffs
from tests.lib.fault import Faulty
from tests.lib.tap import Tap, send

VNI = 12
VXLAN_PORT = 4789
COLLECTOR, T_METER, GATEWAY = "192.0.2.1", "192.0.2.2", "192.0.2.254"
FAR_T_METER, FAR_GATEWAY = "203.0.113.2", "203.0.113.254"
STATUS_HOOK = {"xdp": "xdp-native", "tc": "tc"}

PATIENCE = 20.0  # seconds

_serials = itertools.count(1)


@dataclass
class Collector:
    """`collector`, in its namespace, with a file and an instance of its own."""

    namespace: Namespace
    file: Path
    instance: str

    def command(self, *words: str, check: bool = True) -> CompletedProcess[str]:
        """Forked from a process that has the product imported, which takes longer than most commands do."""
        argv = ["-c", str(self.file), "--instance", self.instance, *words]
        done = Faulty.at_hand.run(self.namespace, argv)
        if check and done.code != 0:
            raise HostError(f"collector {shlex.join(words)} ended with {done.code}: {done.err or done.out}")
        return CompletedProcess(argv, done.code, done.out, done.err)

    def apply(self, sources: list[dict[str, Any]], **t_meter: object) -> str:
        """Returns the changes as printed."""
        t_meters = [{"name": "tm", "address": T_METER, **t_meter}]
        text = json.dumps({"version": 1, "sources": sources, "t_meters": t_meters})
        self.file.write_text(re.sub(r'"(\d+)":', r"\1:", text))  # YAML, but for keys that are numbers
        return self.command("apply").stdout

    def status(self) -> Figures:
        said = self.command("status", "--json", check=False)
        assert said.stderr == ""
        return Figures(json.loads(said.stdout))

    def settled(self, frames: int) -> Figures:
        """Waits until all sources together have counted so many frames."""
        deadline = time.monotonic() + PATIENCE
        while (seen := self.status()).frames < frames:
            assert time.monotonic() < deadline, seen.raw
        return seen


@dataclass(frozen=True)
class Figures:
    """`collector status --json`."""

    raw: dict[str, Any]

    def source(self, name: str = "pbx") -> dict[str, Any]:
        (found,) = [each for each in self.raw["sources"] if each["name"] == name]
        return dict(found)

    @property
    def frames(self) -> int:
        return sum(each["frames"] for each in self.raw["sources"])

    @property
    def sent(self) -> int:
        return int(self.raw["t_meters"][0]["frames"])

    @property
    def passed(self) -> int:
        return sum(each["passed_frames"] for each in self.raw["sources"])

    @property
    def drops(self) -> dict[str, int]:
        """By reason, those that are not zero."""
        found: dict[str, int] = {}
        for each in self.raw["sources"]:
            for reason, frames in each["drops"].items():
                if frames:
                    found[reason] = found.get(reason, 0) + frames
        return found


@contextmanager
def collector(namespace: Namespace) -> Iterator[Collector]:
    ensure_bpffs()
    with TemporaryDirectory(prefix="collector-test-") as folder:
        instance = f"test-{os.getpid()}-{next(_serials)}"
        tool = Collector(namespace, Path(folder) / "collector.yaml", instance)
        try:
            yield tool
            tool.command("remove")
        finally:
            shutil.rmtree(instance_folder(instance), ignore_errors=True)


@dataclass
class Rig:
    """switch span0 -> eth1 collector eth0 -> eth0 t-meter, which may stand behind a gateway."""

    lab: Lab
    hook: str
    switch: Namespace
    tool: Collector
    t_meter: Namespace
    gateway: Namespace | None = None

    @property
    def collector(self) -> Namespace:
        return self.tool.namespace

    def span(self, **keys: object) -> dict[str, Any]:
        return {"name": "pbx", "type": "span", "interface": "eth1", "vni": VNI, "hook": self.hook, **keys}

    def apply(self, **t_meter: object) -> None:
        """One SPAN source, at the rig's hook."""
        address = FAR_T_METER if self.gateway else T_METER
        self.tool.apply([self.span()], **{"address": address, **t_meter})

    def send(self, *frames: bytes) -> None:
        send(self.switch, "span0", frames)

    def tap(self) -> Tap:
        """What the t-meter's kernel takes out of VXLAN, reassembled."""
        return Tap(self.t_meter, f"vx{VNI}")


@contextmanager
def on_link(hook: str, *, span_mtu: int = 1500, mtu: int = 1500, offload: bool = False) -> Iterator[Rig]:
    with Lab() as lab:
        switch, here, t_meter = (lab.namespace(name) for name in ("switch", "collector", "tmeter"))
        switch.link("span0", here, "eth1", mtu=span_mtu, offload=offload)
        here.link("eth0", t_meter, "eth0", mtu=mtu)
        here.address("eth0", f"{COLLECTOR}/24")
        t_meter.address("eth0", f"{T_METER}/24")
        take_xdp_frames(t_meter, "eth0")
        vxlan(t_meter, VNI)
        with collector(here) as tool:
            yield Rig(lab, hook, switch, tool, t_meter)


def behind_gateway(hook: str) -> AbstractContextManager[Rig]:
    way = Way(COLLECTOR, GATEWAY, FAR_GATEWAY, FAR_T_METER, "24", "net.ipv4.ip_forward")
    return along(way, hook, lambda t_meter: vxlan(t_meter, VNI))


@dataclass(frozen=True)
class Way:
    """The addresses from the collector through a gateway to a t-meter, and what makes it one."""

    collector: str
    gateway: str
    far_gateway: str
    t_meter: str
    prefix: str
    forwarding: str


@contextmanager
def along(
    way: Way, hook: str, receive: Callable[[Namespace], object], *, ipv6: bool = False
) -> Iterator[Rig]:
    with Lab() as lab:
        switch = lab.namespace("switch")
        here, gateway, t_meter = (
            lab.namespace(name, ipv6=ipv6) for name in ("collector", "gateway", "tmeter")
        )
        switch.link("span0", here, "eth1")
        here.link("eth0", gateway, "eth0")
        gateway.link("eth1", t_meter, "eth0")
        here.address("eth0", f"{way.collector}/{way.prefix}")
        gateway.address("eth0", f"{way.gateway}/{way.prefix}")
        gateway.address("eth1", f"{way.far_gateway}/{way.prefix}")
        t_meter.address("eth0", f"{way.t_meter}/{way.prefix}")
        here.route("default", way.gateway)
        t_meter.route("default", way.far_gateway)
        gateway.sysctl(way.forwarding, 1)
        # Else it keeps 49 frames at most, a page each, while it asks for the t-meter's MAC address.
        for family in ("ipv4", "ipv6") if ipv6 else ("ipv4",):
            gateway.sysctl(f"net.{family}.neigh.eth1.unres_qlen_bytes", 1 << 24)
        take_xdp_frames(gateway, "eth0")
        receive(t_meter)
        with collector(here) as tool:
            yield Rig(lab, hook, switch, tool, t_meter, gateway)


def take_xdp_frames(namespace: Namespace, ifname: str) -> None:
    """A veth takes frames from XDP at its peer only while it polls, and with GRO on it does."""
    namespace.features(ifname, {"rx-gro": True})


def vxlan(namespace: Namespace, vni: int, *, name: str = "", port: int = VXLAN_PORT, **keys: object) -> str:
    """The kernel's own VXLAN device; returns its name. It hands up each frame as it came."""
    name = name or f"vx{vni}"
    namespace.ipr.link(
        "add", kind="vxlan", ifname=name, vxlan_id=vni, vxlan_port=port, vxlan_learning=0, **keys
    )
    namespace.features(name, {"rx-gro": False})
    namespace.up(name)
    return name


def poll_in_a_thread(namespace: Namespace, ifname: str) -> None:
    """On another CPU than the sender: frames then come in bursts, as from a real NIC."""
    script = f"mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/{ifname}/threaded"
    namespace.run(["unshare", "--mount", "sh", "-c", script])
