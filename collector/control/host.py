"""This host, as far as a plan needs to know it: read once, then only looked at."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2.iproute import IPRoute

from collector.control.notes import Notes, Tuning, instance_folder, read_notes
from collector.control.state import State, read_state
from collector.datapath import nic, program, splitter, tmeter
from collector.datapath.nic import Nic
from collector.datapath.settings import Address
from collector.errors import HostError

LOOPBACK = 1
OLDEST_KERNEL = (6, 1)
_PROC = Path("/proc/sys/net")


@dataclass(frozen=True)
class Host:
    netns: int
    nics: tuple[Nic, ...]
    route: tmeter.Route  # to the configured t-meter
    default_routes: frozenset[int]  # IP versions
    tunings: Mapping[Tuning, str]
    splitter: splitter.Splitter | None
    build: str  # of the program that this package brings
    losses: bool  # the kernel has what it takes to count what an egress NIC does not take
    notes: Notes
    state: State

    def nic(self, ifindex: int) -> Nic | None:
        return next((each for each in self.nics if each.ifindex == ifindex), None)


def require_host() -> None:
    """Everything that must be true before the kernel is asked for anything; HostError otherwise."""
    if os.geteuid() != 0:
        raise HostError("this command needs root", "run it again with sudo")
    release = platform.release()
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if not numbers or (int(numbers[1]), int(numbers[2])) < OLDEST_KERNEL:
        oldest = ".".join(map(str, OLDEST_KERNEL))
        raise HostError(f"the kernel {release} is too old", f"Linux {oldest} or newer is needed (Debian 12)")
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    kinds = [mount[2] for mount in mounts if mount[1] == str(program.BPFFS)]
    if kinds[-1:] != ["bpf"]:  # an earlier one is covered by the last
        raise HostError(
            f"no BPF file system is mounted on {program.BPFFS}",
            f"mount it: mount -t bpf bpf {program.BPFFS}",
        )
    if not program.OBJECT.exists():
        raise HostError(f"the eBPF program {program.OBJECT} is missing", "build it: make setup")


def read_host(netlink: IPRoute, instance: str, t_meter: Address | None, *, brief: bool = False) -> Host:
    """`brief`: without what only a plan needs to know: addresses, neighbours, default routes, what drivers
    can do, and settings that are not ours."""
    folder = instance_folder(instance)
    notes = read_notes(folder)
    tuned = {tuning.ifindex for tuning in notes.tuned}
    nics = nic.read_nics_briefly(netlink, tuned) if brief else nic.read_nics(netlink)
    pair = splitter.find(nics)
    ours = {pair.tx, pair.rx} if pair else set()
    tunings = _read_tunings(each for each in nics if each.ifindex in tuned or not brief)
    netns = Path("/proc/thread-self/ns/net").stat().st_ino
    kept = frozenset() if brief else tmeter.kept_neighbours(netlink)
    return Host(
        netns=netns,
        nics=tuple(each for each in nics if each.ifindex not in ours),
        route=tmeter.find_route(netlink, t_meter) if t_meter else tmeter.NO_ROUTE,
        default_routes=frozenset() if brief else tmeter.default_routes(netlink),
        tunings=tunings,
        splitter=pair,
        build=program.build(),
        losses=program.BTF.exists(),
        notes=notes,
        state=read_state(
            folder, notes, netns=netns, nics=nics, splitter=pair, tunings=tunings, kept=kept, netlink=netlink,
            read_settings=program.remembered_settings if brief else program.read_settings,
        ),
    )  # fmt: skip


_OF_LOOPBACK = ("ipv4.forwarding", "ipv6.forwarding")
_OF_NICS = ("ipv4.arp_evict_nocarrier", "ipv6.ndisc_evict_nocarrier", "ipv6.disable_ipv6")


def _read_tunings(nics: Iterable[Nic]) -> dict[Tuning, str]:
    """Every setting that a plan might want to change, for each of these NICs, as it is now."""
    found = dict(_read_sysctls(LOOPBACK, "lo", _OF_LOOPBACK))
    for each in nics:
        found[Tuning(each.ifindex, "flag", "up")] = _on(each.up)
        found[Tuning(each.ifindex, "flag", "promiscuous")] = _on(each.promiscuous)
        for name in nic.ALTERING:
            feature = each.features.get(name)
            if feature and (feature.changeable or feature.on):
                found[Tuning(each.ifindex, "feature", name)] = _on(feature.on)
        found.update(_read_sysctls(each.ifindex, each.name, _OF_NICS))
    return found


def _read_sysctls(ifindex: int, interface: str, names: tuple[str, ...]) -> Iterator[tuple[Tuning, str]]:
    """Those that this kernel has: without IPv6, half of them are not there."""
    for name in names:
        file = _sysctl(interface, name)
        if file.exists():
            yield Tuning(ifindex, "sysctl", name), file.read_text().strip()


def tune(netlink: IPRoute, name: str, tuning: Tuning, value: str) -> None:
    """`name`: the interface's."""
    if tuning.kind == "sysctl" and tuning.name == "ipv6.forwarding":
        with _learnt_routes_kept():
            _sysctl(name, tuning.name).write_text(value)
    elif tuning.kind == "sysctl":
        _sysctl(name, tuning.name).write_text(value)
    elif tuning.kind == "feature":
        nic.set_feature(name, tuning.name, value == "on")
    elif tuning.name == "up":
        nic.set_up(netlink, tuning.ifindex, value == "on")
    else:
        nic.set_promiscuous(netlink, tuning.ifindex, value == "on")


@contextmanager
def _learnt_routes_kept() -> Iterator[None]:
    """With any interface's IPv6 forwarding the kernel forgets default routes that it learnt from routers
    (rt6_purge_dflt_routers), but for NICs where accept_ra is 2."""
    files = [file for file in (_PROC / "ipv6" / "conf").glob("*/accept_ra") if file.read_text() == "1\n"]
    try:
        for file in files:
            file.write_text("2")
        yield
    finally:
        for file in files:
            file.write_text("1")


def _on(value: bool) -> str:
    return "on" if value else "off"


def _sysctl(interface: str, name: str) -> Path:
    family, key = name.split(".")
    return _PROC / family / "conf" / interface / key
