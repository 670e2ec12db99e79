"""What arrives at each NIC: counted by the kernel, shown anew every second."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pyroute2.iproute import IPRoute

from collector.control.host import Host, tune
from collector.control.notes import Tuning
from collector.datapath.nic import Nic
from collector.operate.setup.arrival import why_no_mirror
from collector.operate.setup.facts import Facts

_SOL_PACKET, _ADD_MEMBERSHIP, _PROMISCUOUS = 263, 1, 1  # linux/if_packet.h


@dataclass(frozen=True)
class Count:
    frames: int
    link: bool


Counts = Mapping[str, Count]
_SECOND = 0.9  # the least that rates are measured over
_NONE = Count(0, link=False)
_ROW = "{:>3}  {:<15}  {:<8}  {:>12}  {:>9}  {}"


class Picture:
    """What to show next. Rates are over a second at least, however often it is asked for."""

    def __init__(self, facts: Facts, read: Callable[[], Counts]) -> None:
        self._facts, self._read = facts, read
        self._first = self._before = read()
        self._then = time.monotonic()
        self._shown = table(facts, self._first, self._first, self._first, 1.0)

    def lines(self) -> list[str]:
        seconds = time.monotonic() - self._then
        if seconds >= _SECOND:
            now = self._read()
            self._shown = table(self._facts, self._first, self._before, now, seconds)
            self._before, self._then = now, self._then + seconds
        return self._shown


def table(facts: Facts, first: Counts, before: Counts, now: Counts, seconds: float) -> list[str]:
    """One line a NIC, at most 80 columns: frames since `first`, and a second since `before`."""
    rates = {name: (now[name].frames - before.get(name, now[name]).frames) / seconds for name in now}
    lines = [_ROW.format("", "NIC", "link", "frames", "a second", "").rstrip()]
    marked = busiest(facts, rates)
    for index, each in enumerate(facts.nics, 1):
        here, then = now.get(each.name, _NONE), first.get(each.name, _NONE)
        note = "<- here" if each.name == marked else why_no_mirror(facts, each)
        link, frames = "yes" if here.link else "no cable", max(0, here.frames - then.frames)
        row = _ROW.format(
            index, each.name, link, f"{frames:,}", f"{max(0, rates.get(each.name, 0)):,.0f}", note
        )
        lines.append(row.rstrip())
    return lines


def busiest(facts: Facts, rates: Mapping[str, float]) -> str:
    """The one that most frames arrive at, of those that can be a mirror port's; "" while there are none."""
    free = [each.name for each in facts.nics if not why_no_mirror(facts, each)]
    found = max(free, key=lambda name: rates.get(name, 0), default="")
    return found if rates.get(found, 0) > 0 else ""


@contextmanager
def watching(netlink: IPRoute, host: Host, names: Sequence[str]) -> Iterator[Callable[[], Counts]]:
    """Has all of them up and taking every frame, and puts that back afterwards."""
    with ExitStack() as put_back:
        for each in host.nics:
            if each.name in names:
                put_back.enter_context(_promiscuous(each.ifindex))
                if not each.up:
                    _bring_up(netlink, each, host, put_back)
        yield lambda: read_counts(netlink, names)


@contextmanager
def _promiscuous(ifindex: int) -> Iterator[None]:
    """For as long as a socket is open: the kernel puts it back however this process ends."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as held:
        request = struct.pack("iHH8x", ifindex, _PROMISCUOUS, 0)
        held.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
        yield


def _bring_up(netlink: IPRoute, here: Nic, host: Host, put_back: ExitStack) -> None:
    """Quietly: without IPv6 the kernel sends nothing of its own there."""
    silent = Tuning(here.ifindex, "sysctl", "ipv6.disable_ipv6")
    up = Tuning(here.ifindex, "flag", "up")
    for each, value in ((silent, "1"), (up, "on")):
        if each in host.tunings:
            put_back.callback(_put_back, netlink, here.name, each, host.tunings[each])
            tune(netlink, here.name, each, value)


def _put_back(netlink: IPRoute, name: str, tuning: Tuning, value: str) -> None:
    """Unless the NIC has been pulled out meanwhile."""
    if netlink.link_lookup(ifname=name) == [tuning.ifindex]:
        tune(netlink, name, tuning, value)


def read_counts(netlink: IPRoute, names: Sequence[str]) -> Counts:
    return {
        name: Count(int(link.get_attr("IFLA_STATS64")["rx_packets"]), bool(link.get_attr("IFLA_CARRIER")))
        for link in netlink.get_links()
        if (name := str(link.get_attr("IFLA_IFNAME"))) in names
    }
