"""The collector, set up by its own command line as a user would; what it costs and how long it takes."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from collector.control.notes import instance_folder
from collector.datapath import attach
from collector.datapath.libbpf import ProgramInfo
from collector.errors import HostError
from tests.bench.frames import VNI, VXLAN_PORT
from tests.bench.rig import SOURCE_ADDRESS, T_METER_ADDRESS, Rig, Way

INSTANCE = f"bench-{os.getpid()}"
STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
SOURCES = {
    "span": f"type: span, vni: {VNI}",
    "vxlan": "type: vxlan, vni: keep",
    "geneve": "type: geneve, vni: keep",
    "erspan": "type: erspan, vni: keep",
}


@dataclass(frozen=True)
class Setup:
    """`sources`: so many of the type, each on a UDP port of its own."""

    type: str
    hook: str
    sources: int = 1
    t_meter: str = T_METER_ADDRESS
    udp_checksum: bool = True

    def text(self, nic: str) -> str:
        common = f"{SOURCES[self.type]}, interface: {nic}, hook: {self.hook}"
        usual = f"  - {{name: bench0, {common}}}\n"  # on the type's own port
        further = (
            f"  - {{name: bench{number}, {common}, port: {VXLAN_PORT + number}}}\n"
            for number in range(1, self.sources)
        )
        checksum = str(self.udp_checksum).lower()
        t_meter = f'{{name: tm, address: "{self.t_meter}", port: {VXLAN_PORT}, udp_checksum: {checksum}}}'
        return f"version: 1\nsources:\n{usual}{''.join(further)}t_meters: [{t_meter}]\n"


class Product:
    """The collector's command line in the rig."""

    def __init__(self, rig: Rig, setup: Setup, folder: str) -> None:
        self._rig = rig
        self._file = Path(folder) / "collector.yaml"
        self._file.write_text(setup.text(rig.source))

    def run(self, command: str) -> float:
        """The seconds that it took."""
        program = [sys.executable, "-m", "collector", "-c", str(self._file), "--instance", INSTANCE, command]
        began = time.monotonic()
        done = self._rig.collector.run(program, check=False)
        if done.returncode != 0:
            raise HostError(f"`collector {command}` failed:\n{done.stderr}{done.stdout}")
        return time.monotonic() - began

    def remove(self) -> None:
        """To its end, even if somebody loses patience: the mask is the command's too."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self.run("remove")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def product(setup: Setup) -> Callable[[Rig], AbstractContextManager[None]]:
    @contextmanager
    def put_in_place(rig: Rig) -> Iterator[None]:
        with _addressed(rig, setup.type), tempfile.TemporaryDirectory() as folder:
            collector = Product(rig, setup, folder)
            try:
                collector.run("apply")
                yield
            finally:
                collector.remove()

    return put_in_place


@contextmanager
def _addressed(rig: Rig, source_type: str) -> Iterator[None]:
    """An encapsulated mirror is sent to the collector's own address; a SPAN port needs none."""
    if source_type == "span":
        yield
        return
    address = {"index": rig.source_index, "address": SOURCE_ADDRESS, "prefixlen": 24}
    rig.collector.ipr.addr("add", **address)
    try:
        yield
    finally:
        rig.collector.ipr.addr("del", **address)


@dataclass(frozen=True)
class Durations:
    """Seconds, the start of Python included."""

    first_apply: float
    second_apply: float
    metrics: float


def durations(rig: Rig) -> Durations:
    with tempfile.TemporaryDirectory() as folder:
        collector = Product(rig, Setup("span", "xdp"), folder)
        try:
            return Durations(*(collector.run(command) for command in ("apply", "apply", "metrics")))
        finally:
            collector.remove()


@contextmanager
def kernel_statistics() -> Iterator[None]:
    """The kernel takes the time of every run of every BPF program, which itself costs time."""
    before = STATISTICS.read_text()
    STATISTICS.write_text("1\n")
    try:
        yield
    finally:
        STATISTICS.write_text(before)


def cost(rig: Rig, way: Way, size: int, seconds: float) -> float:
    """Nanoseconds a frame in the collector's program at the source NIC, while it forwards."""
    before = _programs(rig)
    rig.measure(way, size, seconds)
    runs, nanoseconds = max(
        (after.run_count - before[number].run_count, after.run_time_ns - before[number].run_time_ns)
        for number, after in _programs(rig).items()
    )
    return nanoseconds / runs


def _programs(rig: Rig) -> dict[int, ProgramInfo]:
    """By id: those of the source NIC, of which frames pass one at XDP or one at tc."""
    index = rig.source_index
    attached = attach.find(instance_folder(INSTANCE), rig.collector.ipr)
    return {each.info.id: each.info for each in attached if each.ifindex == index}
