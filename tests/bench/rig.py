"""Three namespaces, two cables, two CPUs: offers frames and counts those that arrive."""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from collector.datapath import libbpf, maps
from collector.errors import HostError
from collector.operate.lab import Lab, Namespace, wait_for
from tests.bench import frames
from tests.bench.frames import Outer, WrongFrameError

OBJECT = Path(__file__).with_name("generator.bpf.o")
GENERATOR_CPU, COLLECTOR_CPU = 0, 1
# Real-time, before all else that wants these CPUs. The t-meter's end comes before the generator, so that what
# the uplink has taken is not lost for want of a CPU: the generator gets what the t-meter's end leaves.
GENERATOR_PRIORITY, COLLECTOR_PRIORITY, T_METER_PRIORITY, RIG_PRIORITY = 1, 1, 2, 3

UPLINK = "eth0"
UPLINK_ADDRESS, T_METER_ADDRESS = "192.0.2.1", "192.0.2.2"
UPLINK_IPV6, T_METER_IPV6 = "2001:db8::1", "2001:db8::2"
# Of the encapsulated mirror, in front of the source NIC
MIRROR_ADDRESS, SOURCE_ADDRESS = "198.51.100.10", "198.51.100.1"

WARM_UP_SECONDS = 0.2
QUIET_SECONDS = 0.1
RESTORED_BYTES = 112  # and the maps' values: generator.bpf.c
LIVE_BATCH = 64
ENDLESS = 2**31 - 1
IFF_PROMISC = 0x100
SAMPLES = 64
FIRST = struct.pack("=I", 0)
SETTINGS = struct.Struct("=III8s")
RECEIVED = struct.Struct("=QQII")

THREADED = 'mount -t sysfs sysfs /sys && echo 1 >"/sys/class/net/$0/threaded"'


@dataclass(frozen=True)
class Way:
    """One way to forward; `put_in_place` undoes at its end what it did."""

    name: str
    title: str
    put_in_place: Callable[[Rig], AbstractContextManager[None]]
    encapsulates: bool = True
    mirror: str = "span"  # what the source NIC gets: bare frames, or those of another source type
    ports: int = 1  # how many UDP ports the mirror's packets are spread over
    t_meter: str = T_METER_ADDRESS
    # Its own process needs the collector's CPU: the NAPI thread must not have precedence there.
    shares_cpu: bool = False
    patience: float = 1  # how many times longer than the others it is measured


@dataclass(frozen=True)
class Measured:
    rate: float  # frames that arrived, a second
    cpu: float  # nanoseconds that the source NIC's NAPI thread ran for each frame that arrived


@dataclass(frozen=True)
class Received:
    at: float  # seconds
    cpu: int  # nanoseconds that the source NIC's NAPI thread has run
    right: int
    wrong: int
    samples: int


class Rig:
    def __init__(self, lab: Lab) -> None:
        tag = f"{os.getpid() % 0x1000:03x}"  # kernel threads carry the NIC's name, and others may run a rig
        self.source, self._t_meter_nic = f"src{tag}", f"rcv{tag}"
        self.generator = lab.namespace("gen")
        self.collector, self.t_meter = (lab.namespace(name, ipv6=True) for name in ("col", "tm"))
        self.generator.link("tap", self.collector, self.source, offload=True)
        self.collector.link(UPLINK, self.t_meter, self._t_meter_nic, offload=True)
        self.collector.address(UPLINK, f"{UPLINK_ADDRESS}/24")
        self.t_meter.address(self._t_meter_nic, f"{T_METER_ADDRESS}/24")
        # The source NIC says nothing of its own, which a packet socket there would read too.
        self.collector.sysctl(f"net/ipv6/conf/{self.source}/disable_ipv6", 1)
        # Of the devices that are still to come: a vxlan device would send solicitations of its own.
        self.collector.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
        self.collector.address(UPLINK, f"{UPLINK_IPV6}/64")
        self.t_meter.address(self._t_meter_nic, f"{T_METER_IPV6}/64")
        self.collector.ipr.link("set", index=self.source_index, flags=IFF_PROMISC, change=IFF_PROMISC)
        self.programs = libbpf.Object(OBJECT)
        self.programs.load()
        self._receiver = self._attach(self.t_meter, self._t_meter_nic, "receive")
        self._source_threads: list[int] = []
        _use_threads(self.t_meter, self._t_meter_nic, GENERATOR_CPU, T_METER_PRIORITY)

    @property
    def source_index(self) -> int:
        return self.collector.index(self.source)

    def attach_to_source(self, program: str) -> libbpf.Fd:
        """The link; the program is off again when nothing refers to it."""
        return self._attach(self.collector, self.source, program)

    def _attach(self, where: Namespace, nic: str, program: str) -> libbpf.Fd:
        index = where.index(nic)
        with where.enter():
            return libbpf.create_link(self.programs.program(program), index, libbpf.XDP, libbpf.XDP_NATIVE)

    @contextmanager
    def forwarding(self, way: Way) -> Iterator[None]:
        with way.put_in_place(self):
            # Without an XDP program a veth takes redirected frames only while GRO is on.
            self.collector.features(self.source, {"rx-gro": True})
            priority = 0 if way.shares_cpu else COLLECTOR_PRIORITY
            self._source_threads = _use_threads(self.collector, self.source, COLLECTOR_CPU, priority)
            yield

    def measure(self, way: Way, size: int, seconds: float) -> Measured:
        mirrored = frames.mirrored(size)
        offered = mirrored if way.mirror == "span" else self._wrapped(mirrored, way)
        self._set_up(way, size, offered)
        before = self._received()
        with self._offering(offered[0], WARM_UP_SECONDS * way.patience):
            first = self._received()
            time.sleep(seconds * way.patience)
            last = self._received()
        after = self._settled(QUIET_SECONDS * way.patience)
        self._check(way, frozenset(mirrored), before, after)
        arrived = last.right - first.right
        return Measured(arrived / (last.at - first.at), (last.cpu - first.cpu) / max(arrived, 1))

    def _wrapped(self, mirrored: Sequence[bytes], way: Way) -> list[bytes]:
        macs = self.generator.mac("tap"), self.collector.mac(self.source)
        outer = Outer(*macs, MIRROR_ADDRESS, SOURCE_ADDRESS)
        wrap = getattr(outer, way.mirror)
        return [wrap(frame, flow, way.ports) for flow, frame in enumerate(mirrored)]

    def _set_up(self, way: Way, size: int, offered: Sequence[bytes]) -> None:
        outer = frames.outer_bytes(way.t_meter)
        expected = (size + outer, frames.VXLAN_HEADER) if way.encapsulates else (size, bytes(8))
        settings = SETTINGS.pack(self.generator.index("tap"), self.collector.index(UPLINK), *expected)
        maps.update(self.programs.map("settings_map"), FIRST, settings)
        heads = self.programs.map("flow_map")
        for flow, frame in enumerate(offered):
            maps.update(heads, struct.pack("=I", flow), frame[:RESTORED_BYTES].ljust(RESTORED_BYTES, b"\0"))

    @contextmanager
    def _offering(self, frame: bytes, warm_up: float) -> Iterator[None]:
        program = self.programs.program("generate")
        process = multiprocessing.get_context("fork").Process(target=_generate, args=(program, frame))
        with self.generator.enter():
            process.start()
        try:
            time.sleep(warm_up)
            yield
            if not process.is_alive():
                raise HostError("The generator stopped", "what it said is above")
        finally:
            process.kill()
            process.join()

    def _received(self) -> Received:
        raw = maps.lookup(self.programs.map("received_map"), FIRST)[0]
        right, wrong, _until_sample, samples = RECEIVED.unpack(raw)
        cpu = sum(map(_run_time, self._source_threads))
        return Received(time.monotonic(), cpu, right, wrong, samples)

    def _settled(self, quiet: float) -> Received:
        """What was received once no frame is on its way any more."""
        seen = [self._received()]

        def steady() -> bool:
            now = self._received()
            if now.at - seen[-1].at < quiet:
                return False
            seen.append(now)
            return now.right == seen[-2].right

        wait_for(steady, "the last frames to arrive")
        return seen[-1]

    def _check(self, way: Way, mirrored: frozenset[bytes], before: Received, after: Received) -> None:
        if after.wrong != before.wrong:
            raise WrongFrameError(f"{way.title}: {after.wrong - before.wrong} other frames arrived")
        if after.samples == before.samples:
            raise WrongFrameError(f"{way.title}: hardly a frame arrived ({after.right - before.right})")
        for number in range(max(before.samples, after.samples - SAMPLES), after.samples):
            packet = self._sample(number % SAMPLES)
            frame = frames.check_outer(packet, way.t_meter) if way.encapsulates else frames.swapped(packet)
            frames.check_frame(frame, mirrored)

    def _sample(self, slot: int) -> bytes:
        raw = maps.lookup(self.programs.map("sample_map"), struct.pack("=I", slot))[0]
        (length,) = struct.unpack_from("=I", raw)
        return raw[4 : 4 + length]


def take_precedence() -> None:
    """For this process alone, not for those that it starts: it sleeps, and must wake in time to read."""
    missing = {GENERATOR_CPU, COLLECTOR_CPU} - os.sched_getaffinity(0)
    if missing:
        raise HostError("The benchmark needs CPUs 0 and 1", "run it on a machine with two CPUs or more")
    os.sched_setaffinity(0, {GENERATOR_CPU})
    os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(RIG_PRIORITY))


def _generate(program: libbpf.Fd, frame: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.sched_setaffinity(0, {GENERATOR_CPU})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(GENERATOR_PRIORITY))
    libbpf.test_run(program, frame, repeat=ENDLESS, flags=libbpf.LIVE_FRAMES, batch=LIVE_BATCH)


def _use_threads(where: Namespace, nic: str, cpu: int, priority: int) -> list[int]:
    """Moves the NIC's receive work to kernel threads, and those to `cpu`; priority 0 is the ordinary one."""
    where.run(["unshare", "--mount", "sh", "-c", THREADED, nic])
    policy = os.SCHED_FIFO if priority else os.SCHED_OTHER
    threads = _napi_threads(nic)
    for thread in threads:
        os.sched_setaffinity(thread, {cpu})
        os.sched_setscheduler(thread, policy, os.sched_param(priority))
    return threads


def _run_time(thread: int) -> int:
    return int(Path(f"/proc/{thread}/schedstat").read_text().split()[0])


def _napi_threads(nic: str) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/comm"):
        with suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            if file.read_text().startswith(f"napi/{nic}-"):
                found.append(int(file.parent.name))
    if not found:
        raise HostError(f"The kernel made no NAPI thread for {nic}")
    return found
