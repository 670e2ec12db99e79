"""What `status` and `interfaces` print for a person, 80 columns wide."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pyroute2.iproute import IPRoute
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from collector.control.hooks import refusal, why_not_native
from collector.control.host import Host, read_host
from collector.control.status import SourceStatus, Status, TMeterStatus, attached_hook, read_status
from collector.datapath.attach import Hook
from collector.datapath.nic import Nic
from collector.datapath.settings import SourceType

NARROW = 80


@dataclass(frozen=True)
class Rate:
    frames_per_second: float
    bits_per_second: float


@dataclass(frozen=True)
class Report:
    status: Status
    rates: dict[str, Rate]  # by source

    def to_json(self) -> dict[str, Any]:
        out = self.status.to_json()
        for source in out["sources"]:
            if source["name"] in self.rates:
                source.update(asdict(self.rates[source["name"]]))
        return out


def measure(instance: str, netlink: IPRoute, interval: float) -> Report:
    if not interval:
        return Report(read_status(instance, netlink), {})
    first, began = read_status(instance, netlink), time.monotonic()
    time.sleep(interval if first.sources else 0)
    second = read_status(instance, netlink)
    seconds = max(time.monotonic() - began, 1e-6)
    return Report(second, rates(first.sources, second.sources, seconds))


def rates(
    first: Iterable[SourceStatus | TMeterStatus],
    second: Iterable[SourceStatus | TMeterStatus],
    seconds: float,
) -> dict[str, Rate]:
    """By name, of those that were there both times. Counters that were set back meanwhile make no rate."""
    before = {each.name: each for each in first}
    return {
        each.name: Rate(
            max(0, each.frames - before[each.name].frames) / seconds,
            8 * max(0, each.bytes - before[each.name].bytes) / seconds,
        )
        for each in second
        if each.name in before
    }


def new_console() -> Console:
    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = NARROW
    return console


def print_status(report: Report) -> None:
    console, status = new_console(), report.status
    if not status.configured:
        console.print("not configured: nothing is forwarded")
        for notice in status.notices:
            _print_hanging(console, "*", notice, "yellow")
        return
    colour, word = ("green", "healthy") if status.healthy else ("red", "NOT healthy")
    console.print(f"instance {status.instance}: [{colour}]{word}[/]")
    for problem in status.problems:
        _print_hanging(console, "!", problem, "red")
    for notice in status.notices:
        _print_hanging(console, "*", notice, "yellow")
    for source in status.sources:
        console.print()
        _print_source(console, source, report.rates.get(source.name))
    for t_meter in status.t_meters:
        console.print()
        state = "[green]up[/]" if t_meter.up else f"[red]down[/]: {escape(t_meter.why)}"
        console.print(f"t-meter [bold]{t_meter.name}[/]  {escape(endpoint(t_meter))}  {state}")
        console.print(f"  sent      {t_meter.frames:>15,} frames  {_size(t_meter.bytes)}")
        console.print(f"  path MTU  {t_meter.path_mtu:>15,} bytes")
        if t_meter.round_trip_seconds is not None:
            console.print(f"  answers in {1000 * t_meter.round_trip_seconds:>14,.1f} ms")
        if t_meter.hint and t_meter.hint != t_meter.why:
            _print_hanging(console, "*", t_meter.hint, "yellow")


def _print_hanging(console: Console, mark: str, words: str, style: str) -> None:
    """Further lines begin below the first word."""
    indent = " " * 4
    filled = (
        textwrap.fill(
            line, console.width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
        for line in words.splitlines()
    )
    text = "\n".join(filled).lstrip()
    console.print(Text(f"  {mark} {text}", style))


def endpoint(t_meter: TMeterStatus) -> str:
    address = f"[{t_meter.address}]" if ":" in t_meter.address else t_meter.address
    return f"{address}:{t_meter.port}"


def _print_source(console: Console, source: SourceStatus, rate: Rate | None) -> None:
    how = f"VNI {source.vni}, hook {source.hook}" if source.vni else "which is not there"
    console.print(f"source [bold]{source.name}[/]  {source.type} on {escape(source.interface)}, {how}")
    if source.why:
        console.print(Text(f"  not xdp-native: {source.why}"))
    console.print(f"  received  {source.frames:>15,} frames  {_size(source.bytes)}{_rate(rate)}")
    if source.passed_frames:
        console.print(f"  passed    {source.passed_frames:>15,} frames  to this host, not mirrored traffic")
    for reason, frames in source.drops.items():
        if frames:
            console.print(f"  dropped   {frames:>15,} frames  {reason}", style="yellow")
    age = source.last_frame_age_seconds
    console.print(f"  last frame {'never' if age is None else f'{age:,.1f} s ago':>14}")
    for what, age in (("SIP", source.last_sip_age_seconds), ("RTP", source.last_rtp_age_seconds)):
        if age is not None:
            console.print(f"  last {what}   {f'{age:,.1f} s ago':>14}")


def _size(octets: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if octets < 1000 or unit == "TB":
            return f"{octets:,.0f} {unit}" if unit == "B" else f"{octets:,.1f} {unit}"
        octets /= 1000
    raise AssertionError


def _rate(rate: Rate | None) -> str:
    if rate is None:
        return ""
    return f"   {rate.frames_per_second:,.0f} frames/s, {rate.bits_per_second / 1e6:,.2f} Mbit/s"


@dataclass(frozen=True)
class Interface:
    name: str
    mac: str
    driver: str
    up: bool
    carrier: bool
    mtu: int
    addresses: tuple[str, ...]
    hook: str  # what it has, or the best that it can take as far as is known
    attached: bool
    why: str  # not a better hook

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_interfaces(instance: str, netlink: IPRoute) -> list[Interface]:
    host = read_host(netlink, instance, None)
    return [_interface(nic, host) for nic in host.nics]


def _interface(nic: Nic, host: Host) -> Interface:
    attached = attached_hook(nic.ifindex, host, bystander=True)
    why = "" if attached is Hook.XDP_NATIVE else _why(nic, host)
    best = attached or (Hook.TC if why else Hook.XDP_NATIVE)
    if not attached and not why:
        why = "as far as the driver says; apply will find out"
    return Interface(
        nic.name, nic.mac, nic.driver, nic.up, nic.carrier, nic.mtu, nic.addresses, best, bool(attached), why
    )


def _why(nic: Nic, host: Host) -> str:
    if nic.xdp_program and nic.xdp_program not in host.state.own_programs:
        return f"another program (id {nic.xdp_program}) is attached at XDP"
    sources = host.state.settings.sources if host.state.settings else ()
    span = any(each.ifindex == nic.ifindex and each.type is SourceType.SPAN for each in sources)
    return why_not_native(nic.ifindex, host, span=span) or refusal(nic.ifindex, "egress", host)


def print_interfaces(interfaces: list[Interface]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("interface", "driver", "link", "MTU", "hook", "why not a better one"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "why not a better one")
    for each in interfaces:
        link = "down" if not each.up else "yes" if each.carrier else "no cable"
        hook = each.hook if each.attached else f"({each.hook})"
        table.add_row(Text(each.name), each.driver or "?", link, str(each.mtu), hook, Text(each.why))
    console = new_console()
    console.print(table)
    console.print("\nA hook in brackets is what the interface could take; nothing is attached there.")
