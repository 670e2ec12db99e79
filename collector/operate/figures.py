"""A sink's figures for people: live ones while it runs, and the summary."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from collector.operate.report import NANOSECONDS, Report
from collector.operate.streams import rtp_by_stream, rtp_facts

MOST_VNIS_SHOWN = 20


class Screen(Protocol):
    interval: float

    def update(self, report: Report, now: float) -> None:
        """`now` is on the monotonic clock, in seconds."""

    def close(self) -> None: ...


class Rates:
    """Frames and bits a second of each VNI since the last time it was asked."""

    def __init__(self, started: float) -> None:
        self._then = started
        self._before: dict[int, tuple[int, int]] = {}

    def measure(self, report: Report, now: float) -> dict[int, tuple[float, float]]:
        elapsed = max(now - self._then, 1e-6)
        counts = {vni: (count.frames, count.bytes) for vni, count in report.vnis.items()}
        rates = {}
        for vni, (frames, size) in counts.items():
            frames_before, size_before = self._before.get(vni, (0, 0))
            rates[vni] = ((frames - frames_before) / elapsed, (size - size_before) * 8 / elapsed)
        self._then, self._before = now, counts
        return rates


class TerminalScreen:
    interval = 1.0

    def __init__(self, console: Console, started: float) -> None:
        self._rates = Rates(started)
        self._live = Live(Text("No frames yet. Stop with Ctrl-C."), console=console, auto_refresh=False)
        self._live.transient = True
        self._live.start(refresh=True)

    def update(self, report: Report, now: float) -> None:
        self._live.update(_live_table(report, self._rates.measure(report, now)), refresh=True)

    def close(self) -> None:
        self._live.stop()


class PlainScreen:
    interval = 5.0

    def __init__(self, console: Console, started: float) -> None:
        self._rates = Rates(started)
        self._console = console

    def update(self, report: Report, now: float) -> None:
        rates = self._rates.measure(report, now)
        clock = time.strftime("%H:%M:%S")
        for vni in _busiest(report):
            count, (frames, bits) = report.vnis[vni], rates[vni]
            self._line(
                f"{clock} VNI {vni}: {count.frames:,} frames, {scaled(count.bytes, 'B')}, "
                f"{frames:,.0f} frames/s, {scaled(bits, 'bit/s')}"
            )
        if not report.vnis:
            self._line(f"{clock} no frames yet")

    def close(self) -> None:
        pass

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)
        self._console.file.flush()


class SilentScreen:
    interval = 1.0

    def update(self, report: Report, now: float) -> None:
        pass

    def close(self) -> None:
        pass


def open_screen(json: bool) -> Screen:
    """With `json`, stdout is for the document alone: figures go to a terminal on stderr, or nowhere."""
    console = Console(stderr=json, highlight=False)
    if console.is_terminal:
        return TerminalScreen(console, time.monotonic())
    return SilentScreen() if json else PlainScreen(console, time.monotonic())


def scaled(amount: float, unit: str) -> str:
    for prefix in ("", "k", "M", "G"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if not prefix else f"{amount:.3g} {prefix}{unit}"
        amount /= 1000
    return f"{amount:,.1f} T{unit}"


def render(report: Report) -> RenderableType:
    """The summary."""
    head = f"Listened on {report.listen} for {report.seconds:,.1f} s: {report.frames:,} frames"
    parts: list[RenderableType] = [Text(head, style="bold"), Text("")]
    if report.vnis:
        parts += [_summary_table(report), *_more_vnis(report), Text("")]
    else:
        parts += [Text(_nothing_arrived(report), style="yellow"), Text("")]
    return Group(*parts, _facts(report), *rtp_by_stream(report.rtp))


def _nothing_arrived(report: Report) -> str:
    if any(report.malformed.values()):
        return "Datagrams arrived, but none was VXLAN. What sends to this port?"
    return (
        "Nothing arrived. Check that the collector's t-meter address and port are this\n"
        "host's, and that no firewall between them drops that UDP port."
    )


def _live_table(report: Report, rates: dict[int, tuple[float, float]]) -> RenderableType:
    if not report.vnis:
        return Text("No frames yet. Stop with Ctrl-C.")
    table = _table("VNI", "Frames", "Bytes", "Frames/s", "Rate")
    for vni in _busiest(report):
        count, (frames, bits) = report.vnis[vni], rates[vni]
        table.add_row(
            str(vni), f"{count.frames:,}", scaled(count.bytes, "B"), f"{frames:,.0f}", scaled(bits, "bit/s")
        )
    return Group(table, *_more_vnis(report))


def _summary_table(report: Report) -> Table:
    table = _table("VNI", "Frames", "Bytes", "Frames/s", "Mean rate", "First", "Last")
    for vni in _busiest(report):
        count = report.vnis[vni]
        frames, bits = count.per_second(count.frames), count.per_second(count.bytes * 8)
        table.add_row(
            str(vni),
            f"{count.frames:,}",
            scaled(count.bytes, "B"),
            "-" if frames is None else f"{frames:,.0f}",
            "-" if bits is None else scaled(bits, "bit/s"),
            _clock(count.first_ns),
            _clock(count.last_ns),
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _busiest(report: Report) -> list[int]:
    """The VNIs to show, in order of number."""
    by_frames = sorted(report.vnis, key=lambda vni: report.vnis[vni].frames, reverse=True)
    return sorted(by_frames[:MOST_VNIS_SHOWN])


def _more_vnis(report: Report) -> list[RenderableType]:
    more = len(report.vnis) - MOST_VNIS_SHOWN
    return [Text(f"and {more:,} more VNIs with fewer frames")] if more > 0 else []


def _clock(nanoseconds: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(nanoseconds // NANOSECONDS))


def _facts(report: Report) -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column()
    for name, value in _sip_facts(report):
        facts.add_row(name, value)
    facts.add_row("RTP-like frames", f"{report.rtp.packets:,}")
    for name, value in rtp_facts(report.rtp):
        facts.add_row(name, value)
    facts.add_row("Not VXLAN", _not_vxlan(report))
    if report.odd:
        facts.add_row("Odd VXLAN", Text(f"{report.odd:,} with a reserved bit set (counted above)", "yellow"))
    facts.add_row("Lost at the socket", _socket_drops(report))
    if report.pcap:
        facts.add_row("Frames written to", Text(str(report.pcap), overflow="fold"))
    return facts


def _sip_facts(report: Report) -> Iterable[tuple[str, str]]:
    sip = report.sip
    yield "SIP calls", f"{len(sip.calls):,} by Call-ID"
    if sip.calls:
        yield "  of these", f"{sip.answered:,} answered, {sip.failed:,} failed, {sip.ended:,} ended by BYE"
    if sip.untracked_messages:
        yield "  not counted", f"calls of {sip.untracked_messages:,} messages: too many calls to remember"
    yield "SIP requests", _listed(sip.methods.items())
    yield "SIP responses", _listed(sip.responses.items())


def _listed(counts: Iterable[tuple[object, int]]) -> str:
    pairs = sorted((str(name), count) for name, count in counts)
    return ", ".join(f"{name} {count:,}" for name, count in pairs) or "none"


def _not_vxlan(report: Report) -> Text:
    short, flags = report.malformed["too_short"], report.malformed["flags"]
    if not short and not flags:
        return Text("0 datagrams")
    return Text(f"{short + flags:,} datagrams: {short:,} too short, {flags:,} without the VNI flag", "yellow")


def _socket_drops(report: Report) -> Text:
    if not report.socket_drops:
        return Text("0 datagrams")
    return Text(
        f"{report.socket_drops:,} datagrams reached this host but came too fast for this "
        "program, or had a wrong checksum: the figures above are too low by these",
        "bold red",
    )
