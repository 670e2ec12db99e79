"""The program in the kernel, given one packet at a time (BPF_PROG_TEST_RUN), at either hook.

with Site() as site:
    datapath = site.load(site.span("pbx", vni=12))
    outcome = datapath.run("xdp", packet)
    outcome.verdict, outcome.packet, outcome.change
"""

from __future__ import annotations

import os
import struct
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from collector.datapath import counters, libbpf, maps, program, splitter
from collector.datapath.ports import Ports
from collector.datapath.settings import NONE, Network, Oversize, Settings, Source, SourceType, TMeter, VniRule
from collector.datapath.splitter import Splitter
from collector.operate.lab import BPFFS, Lab, ensure_bpffs
from collector.operate.machine import Machine

Hook = Literal["xdp", "tc"]
HOOKS: tuple[Hook, ...] = ("xdp", "tc")
VERDICTS: dict[Hook, dict[int, str]] = {
    "xdp": {1: "drop", 2: "pass", 4: "sent"},  # XDP_DROP, XDP_PASS, XDP_REDIRECT
    "tc": {2: "drop", NONE: "pass", 7: "sent"},  # TC_ACT_SHOT, TC_ACT_UNSPEC, TC_ACT_REDIRECT
}
PROGRAMS: dict[Hook, str] = {"xdp": "collector_xdp", "tc": "collector_tc"}

COLLECTOR, TMETER = "192.0.2.1", "192.0.2.2"
COLLECTOR_MAC, TMETER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
COLLECTOR6, TMETER6 = "2001:db8:1::1", "2001:db8:1::2"
TMETER_PORT = 4789
TUNNEL_PORTS = {SourceType.VXLAN: 4789, SourceType.GENEVE: 6081, SourceType.TZSP: 37008}
HAVE_A_VNI = {SourceType.VXLAN, SourceType.GENEVE, SourceType.ERSPAN}
COUNTED_MAPS = ("source_counters", "tmeter_counters")
OVERSIZE = {"t-meter oversize": 1}
_CPU_STATE = struct.Struct("<QII")  # struct cpu_state as far as `packets`
FLOW_WAYS = 65536
_NO_WAYS = (struct.pack(f"<{FLOW_WAYS}I", *range(FLOW_WAYS)), bytes(16 * FLOW_WAYS))  # keys, values


@dataclass(frozen=True)
class Outcome:
    verdict: str  # "sent", "drop" or "pass"
    packet: bytes
    change: dict[str, int]  # of the counters: "pbx frames", "pbx loop", "t-meter bytes"; zeros left out
    ip_id: int  # that an outer packet had to get
    tmeter: TMeter
    mark: int = 0


def sent(source: str, size: int, *, oversize: bool = False) -> dict[str, int]:
    """`oversize`: in fragments, or cut."""
    both = {
        f"{owner} {what}": n for owner in (source, "t-meter") for what, n in (("frames", 1), ("bytes", size))
    }
    return dict(sorted((both | (OVERSIZE if oversize else {})).items()))


def dropped(source: str, size: int, reason: str) -> dict[str, int]:
    counted = {f"{source} frames": 1, f"{source} bytes": size, f"{source} {reason}": 1}
    return dict(sorted((counted | (OVERSIZE if reason == "oversize" else {})).items()))


OVER_IPV4: dict[str, Any] = {}
OVER_IPV6: dict[str, Any] = {
    "source": ip_address(COLLECTOR6),
    "address": ip_address(TMETER6),
    "udp_checksum": True,
}
OVER_IPV6_UNCHECKED: dict[str, Any] = OVER_IPV6 | {"udp_checksum": False}


def passed(source: str, frames: int = 1) -> dict[str, int]:
    return {f"{source} passed": frames}


class Site:
    """A collector with an uplink to a t-meter and two mirror NICs, and one set of counters."""

    def __init__(self) -> None:
        self._cleanup = ExitStack()
        self._loaded: dict[Settings, Datapath] = {}

    def __enter__(self) -> Self:
        ensure_bpffs()
        with ExitStack() as undo:
            self._build(undo)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.__exit__(kind, error, trace)

    def _build(self, undo: ExitStack) -> None:
        lab = undo.enter_context(Lab())
        self.machine, self.far = lab.namespace("collector", ipv6=True), lab.namespace("far")
        self.machine.link("eth0", self.far, "eth0", mtu=9000, macs=(COLLECTOR_MAC, TMETER_MAC))
        for name in ("eth1", "eth2"):
            self.machine.link(name, self.far, name)
        self.machine.address("eth0", f"{COLLECTOR}/24")
        self.machine.address("eth0", f"{COLLECTOR6}/64")
        for tmeter in (TMETER, TMETER6):
            self.machine.neighbour("eth0", tmeter, TMETER_MAC)
        for family in ("ipv4", "ipv6"):
            self.machine.sysctl(f"net/{family}/conf/lo/forwarding", 1)
        self.splitter = self._splitter()
        self.uplink, self.nic, self.nic2 = (self.machine.index(name) for name in ("eth0", "eth1", "eth2"))
        self.netns = Path(self.machine.path).stat().st_ino
        self.folder = BPFFS / f"test-{os.getpid()}"
        self.folder.mkdir()
        undo.callback(self._remove_folder)

    def _splitter(self) -> Splitter:
        with self.machine.enter():
            pair = splitter.create(self.machine.ipr)
            splitter.start(self.machine.ipr, pair)
        return pair

    def _remove_folder(self) -> None:
        for pin in self.folder.iterdir():
            pin.unlink()
        self.folder.rmdir()

    # Sources as the program knows them

    def span(self, name: str = "pbx", **settings: Any) -> Source:
        usual: dict[str, Any] = {"slot": 0, "type": SourceType.SPAN, "ifindex": self.nic, "vni": 12}
        return Source(**usual | {"name": name} | settings)

    def tunnel(
        self, kind: SourceType, name: str = "", *, senders: str = "0.0.0.0/0 ::/0", **settings: Any
    ) -> Source:
        """On the first mirror NIC; the tunnel's own VNI is kept, or where it has none it is 12."""
        vni: dict[str, Any] = {"vni_rule": VniRule.KEEP} if kind in HAVE_A_VNI else {"vni": 12}
        usual = {"slot": 0, "ifindex": self.nic, "port": TUNNEL_PORTS.get(kind, 0), **vni}
        networks: tuple[Network, ...] = tuple(ip_network(sender) for sender in senders.split())
        own = {"name": name or kind.name.lower(), "type": kind, "senders": networks}
        return Source(**usual | own | settings)

    def one_of_each(self, **settings: Any) -> tuple[Source, ...]:
        """Of the tunnels, all on one NIC, each by its kind's name in lower case."""
        kinds = [kind for kind in SourceType if kind != SourceType.SPAN]
        return tuple(self.tunnel(kind, slot=slot, **settings) for slot, kind in enumerate(kinds))

    def vxlan(self, name: str = "aws", **settings: Any) -> Source:
        return self.tunnel(SourceType.VXLAN, name, **settings)

    def load(self, *sources: Source, **tmeter: Any) -> Datapath:
        """One program for all who ask for the same; it remembers no packet that was before. `tmeter`: as in
        `settings`."""
        settings = self.settings(*sources, **tmeter)
        if settings not in self._loaded:
            self._loaded[settings] = Datapath(self, settings, forgets=True)
        return self._loaded[settings]

    def unload(self) -> None:
        """What nobody else still holds: a program keeps a good dozen files open."""
        self._loaded.clear()

    def load_fresh(self, *sources: Source, **tmeter: Any) -> Datapath:
        """For tests of what the program remembers: flows that take a slower way, and fragments."""
        return Datapath(self, self.settings(*sources, **tmeter))

    def settings(self, *sources: Source, telephony: tuple[Ports, ...] = (), **tmeter: Any) -> Settings:
        """`tmeter`: what is to differ from a t-meter on link, reached by 1,500 bytes over IPv4."""
        usual: dict[str, Any] = {
            "name": "ohio",
            "source": ip_address(COLLECTOR),
            "address": ip_address(TMETER),
            "port": TMETER_PORT,
            "path_mtu": 1500,
            "oversize": Oversize.FRAGMENT,
            "ifindex": self.uplink,
        }
        return Settings(self.netns, TMeter(**usual | tmeter), sources, telephony, self.splitter)


class Datapath:
    """The program with one configuration; counters are the site's, and go on."""

    def __init__(self, site: Site, settings: Settings, *, forgets: bool = False) -> None:
        self.settings = settings
        self._forgets = forgets
        self.machine: Machine = site.machine
        self.folder = site.folder
        self.object = program.load(settings, site.folder)
        self.programs = {hook: self.object.program(name) for hook, name in PROGRAMS.items()}
        self._cpu_states = self.object.map("cpu_states")
        self._fragments, self._ways = self.object.map("outer_fragments"), self.object.map("flow_ways")
        for name in COUNTED_MAPS:
            if not (site.folder / name).exists():
                libbpf.pin(self.object.map(name), site.folder / name)

    def run(self, hook: Hook, packet: bytes, ifindex: int | None = None, **context: int) -> Outcome:
        """`context`: at tc the packet's `mark`, `gso_size`, `gso_segs`."""
        before, ip_id = self._counters(), self._next_ip_id()
        verdict, out, mark = self.run_only(hook, packet, ifindex, **context)
        after = self._counters()
        change = {name: after[name] - before[name] for name in sorted(after) if after[name] != before[name]}
        return Outcome(verdict, out, change, ip_id, self.settings.tmeter, mark)

    def run_only(
        self, hook: Hook, packet: bytes, ifindex: int | None = None, **context: int
    ) -> tuple[str, bytes, int]:
        """Looks at no counter: verdict, packet, mark."""
        self._forget_fragments()
        arrival = self.settings.sources[0].ifindex if ifindex is None else ifindex
        given = xdp_md(packet, arrival) if hook == "xdp" else sk_buff(arrival, **context)
        with self.machine.enter():
            code, out, after = libbpf.test_run(self.programs[hook], packet, context=given)
        mark = struct.unpack_from("<I", after, _MARK)[0] if hook == "tc" else 0
        verdict = VERDICTS[hook][code]
        if (hook, verdict) == ("xdp", "pass"):
            self._forget_ways()
        return verdict, out, mark

    def _forget_fragments(self) -> None:
        if self._forgets:
            for key in list(maps.keys(self._fragments)):
                libbpf.call("forgetting", "bpf_map_delete_elem", self._fragments.number, key)

    def _forget_ways(self) -> None:
        """A packet with bytes behind it takes its flow along to tc. Spans have none, and no time to lose."""
        if self._forgets and self.settings.sources[0].type != SourceType.SPAN:
            count = libbpf.buffer(4)
            count.raw = struct.pack("<I", FLOW_WAYS)
            libbpf.call("forgetting", "bpf_map_update_batch", self._ways.number, *_NO_WAYS, count, None)

    def _next_ip_id(self) -> int:
        """It counts on each CPU for itself; the tests keep to one. Of its 32 bits IPv4 has 16."""
        (cpu,) = os.sched_getaffinity(0)
        copies = maps.lookup(self._cpu_states, struct.pack("<I", 0))
        packets: int = _CPU_STATE.unpack_from(copies[cpu])[2]
        return (packets * len(copies) + cpu) & 0xFFFFFFFF

    def _counters(self) -> dict[str, int]:
        values: dict[str, int] = {}
        for source in self.settings.sources:
            read = counters.read_source(self.folder, source.slot)
            own = {"frames": read.frames, "bytes": read.bytes, "passed": read.passed_frames, **read.drops}
            values |= {f"{source.name} {what}": n for what, n in own.items()}
        tmeter = counters.read_tmeter(self.folder)
        sums = {"frames": tmeter.frames, "bytes": tmeter.bytes, "oversize": tmeter.oversize_frames}
        return values | {f"t-meter {what}": n for what, n in sums.items()}

    def last_seen(self) -> dict[str, float | None]:
        """Of the first source: when the last frame, SIP message and RTP packet came, by CLOCK_MONOTONIC."""
        read = counters.read_source(self.folder, self.settings.sources[0].slot)
        return {"frame": read.last_frame, "sip": read.last_sip, "rtp": read.last_rtp}


_MARK, _IFINDEX, _GSO_SEGS, _GSO_SIZE = 8, 40, 164, 176  # offsets in struct __sk_buff, linux/bpf.h
_SK_BUFF_SIZE = 192


def xdp_md(packet: bytes, ifindex: int) -> bytes:
    return struct.pack("<6I", 0, len(packet), 0, ifindex, 0, 0)


def sk_buff(ifindex: int, *, mark: int = 0, gso_size: int = 0, gso_segs: int = 0) -> bytes:
    context = bytearray(_SK_BUFF_SIZE)
    for offset, value in ((_MARK, mark), (_IFINDEX, ifindex), (_GSO_SEGS, gso_segs), (_GSO_SIZE, gso_size)):
        struct.pack_into("<I", context, offset, value)
    return bytes(context)
