"""What `top` shows of two readings: rates by source, drop reason and t-meter, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from collector.control.show import Rate, endpoint, rates
from collector.control.status import SourceStatus, Status, TMeterStatus

HOW_TO_LEAVE = "q or Ctrl-C leaves; frames flow on"
TOO_SMALL = "... and more: make the window taller"


@dataclass(frozen=True)
class View:
    """The last reading, and what has changed since the one before: by name, per second."""

    status: Status
    clock: str
    measured: bool = False
    sources: Mapping[str, Rate] = field(default_factory=dict)
    drops: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    t_meters: Mapping[str, Rate] = field(default_factory=dict)


def compare(first: Status, second: Status, seconds: float, clock: str) -> View:
    before = {source.name: source for source in first.sources}
    drops = {
        source.name: _drop_rates(before[source.name], source, seconds)
        for source in second.sources
        if source.name in before
    }
    sources = rates(first.sources, second.sources, seconds)
    return View(second, clock, True, sources, drops, rates(first.t_meters, second.t_meters, seconds))


def _drop_rates(first: SourceStatus, second: SourceStatus, seconds: float) -> dict[str, float]:
    """Those that are not zero, the largest first."""
    since = {reason: frames - first.drops.get(reason, 0) for reason, frames in second.drops.items()}
    found = {reason: frames / seconds for reason, frames in since.items() if frames > 0}
    return dict(sorted(found.items(), key=lambda item: item[1], reverse=True))


def render(view: View) -> RenderableType:
    return Group(*_body(view), *_foot(view))


def fitted(view: View, console: Console) -> RenderableType:
    """The same for a window: the foot is seen, whatever there is above it."""
    body = console.render_lines(Group(*_body(view)), pad=False)
    foot = console.render_lines(Group(*_foot(view), Text(HOW_TO_LEAVE, style="dim")), pad=False)
    room = max(console.height - len(foot), 2)
    if len(body) > room:
        body = [*body[: room - 1], [Segment(TOO_SMALL)]]
    lines = (body + foot)[: console.height]
    return Segments([segment for line in lines for segment in (*line, Segment.line())][:-1])


def _body(view: View) -> Iterator[RenderableType]:
    status = view.status
    if not status.configured:
        yield Text(f"{view.clock}  not configured: nothing is forwarded")
        return
    colour, word = ("green", "healthy") if status.healthy else ("red", "NOT healthy")
    yield Text.assemble(f"{view.clock}  instance {status.instance}: ", (word, colour))
    if status.sources:
        yield Text("")
        yield _source_table(view)
    if status.t_meters:
        yield Text("")
        yield _t_meter_table(view)


def _foot(view: View) -> Iterator[RenderableType]:
    hints = (each.hint for each in view.status.t_meters if each.hint != each.why)
    notices = [*view.status.notices, *filter(None, hints)]
    if view.status.problems or notices:
        yield Text("")
    for problem in view.status.problems:
        yield _hanging("!", problem, "red")
    for notice in notices:
        yield _hanging("*", notice, "yellow")


def _hanging(mark: str, words: str, style: str) -> Table:
    """A second line begins below the first word."""
    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_row(Text(mark, style), Text(words, style, overflow="fold"))
    return row


def _source_table(view: View) -> Table:
    table = _table("source", "interface", "hook", "frames/s", "Mbit/s", "last frame", "drops/s")
    for source in view.status.sources:
        table.add_row(
            Text(source.name, "bold"),
            Text(source.interface),
            source.hook,
            *_figures(view.sources.get(source.name)),
            _age(source.last_frame_age_seconds),
            _drops(view.drops.get(source.name)),
        )
    return table


def _t_meter_table(view: View) -> Table:
    table = _table("t-meter", "address", "frames/s", "Mbit/s", "up")
    for t_meter in view.status.t_meters:
        table.add_row(
            Text(t_meter.name, "bold"),
            Text(endpoint(t_meter)),
            *_figures(view.t_meters.get(t_meter.name)),
            _up(t_meter),
        )
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        number = heading in {"frames/s", "Mbit/s", "last frame"}
        table.add_column(
            heading,
            justify="right" if number else "left",
            no_wrap=number or heading == "hook",
            overflow="fold",
        )
    return table


def _figures(rate: Rate | None) -> tuple[str, str]:
    if rate is None:
        return "-", "-"
    return _number(rate.frames_per_second), f"{rate.bits_per_second / 1e6:,.2f}"


def _number(amount: float) -> str:
    """Something is never shown as nothing."""
    if 0 < amount < 0.1:
        return "<0.1"
    return f"{amount:,.0f}" if amount >= 10 or amount == 0 else f"{amount:.1f}"


def _drops(drops: Mapping[str, float] | None) -> Text:
    if drops is None:
        return Text("-")
    words = "\n".join(f"{reason} {_number(amount)}" for reason, amount in drops.items())
    return Text(words or "none", "yellow" if words else "")


def _up(t_meter: TMeterStatus) -> Text:
    return Text("yes", "green") if t_meter.up else Text(f"no: {t_meter.why}", "red", overflow="fold")


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.1f} s"
