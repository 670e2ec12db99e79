"""What was measured: as a table of 80 columns, as JSON, and held against what is wanted."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.bench import ways
from tests.bench.product import Durations
from tests.bench.rig import Measured, Way

RULE = "-" * 78


@dataclass
class Results:
    """By way and size, in the order of the rounds. `costs` are nanoseconds a frame."""

    sizes: tuple[int, ...]
    seconds: float
    measured: dict[str, dict[int, list[Measured]]] = field(default_factory=dict)
    costs: dict[str, dict[int, float]] = field(default_factory=dict)
    durations: list[Durations] = field(default_factory=list)

    def add(self, way: Way, size: int, measured: Measured) -> None:
        self.measured.setdefault(way.name, {}).setdefault(size, []).append(measured)

    def rates(self, way: Way, size: int) -> list[float]:
        return [each.rate for each in self.measured.get(way.name, {}).get(size, [])]

    def cpu(self, way: Way, size: int) -> float | None:
        """None where a process of its own does most of the work."""
        if way.shares_cpu:
            return None
        return statistics.median(each.cpu for each in self.measured[way.name][size])

    def ratio(self, way: Way, to: Way, size: int) -> float | None:
        """The median of the rounds' own ratios: what disturbs a whole round disturbs both sides of it."""
        pairs = zip(self.rates(way, size), self.rates(to, size), strict=False)
        ratios = [rate / reference for rate, reference in pairs]
        return statistics.median(ratios) if ratios else None

    def cost(self, way: Way, size: int) -> float | None:
        return self.costs.get(way.name, {}).get(size)


@dataclass(frozen=True)
class Wanted:
    what: str
    bound: float
    figure: Callable[[Results, int], float | None]
    at_most: bool = False

    def passes(self, value: float) -> bool:
        return value < self.bound if self.at_most else value >= self.bound


WANTED = (
    Wanted("XDP: 0.90 of the limit", 0.90, lambda r, size: r.ratio(ways.XDP, ways.LIMIT, size)),
    Wanted("XDP: 8 times the recipe", 8, lambda r, size: r.ratio(ways.XDP, ways.RECIPE, size)),
    Wanted("tc: 3 times the recipe", 3, lambda r, size: r.ratio(ways.TC, ways.RECIPE, size)),
    Wanted("rewrap: 0.85 of the limit", 0.85, lambda r, size: r.ratio(ways.REWRAP, ways.LIMIT, size)),
    Wanted("8 sources: 0.90 of one", 0.90, lambda r, size: r.ratio(ways.REWRAP_8, ways.REWRAP, size)),
    Wanted("GENEVE: 0.80 of the limit", 0.80, lambda r, size: r.ratio(ways.GENEVE, ways.LIMIT, size)),
    Wanted("ERSPAN: 0.80 of the limit", 0.80, lambda r, size: r.ratio(ways.ERSPAN, ways.LIMIT, size)),
    Wanted("XDP: under 300 ns a frame", 300, lambda r, size: r.cost(ways.XDP, size), at_most=True),
)


def table(results: Results) -> str:
    return "\n".join(
        [
            *_rates(results),
            *_costs(results),
            *_durations(results),
            *_verdicts(results),
        ]
    )


def _rates(results: Results) -> Iterator[str]:
    for size in results.sizes:
        yield f"Frames of {size} bytes that arrived, thousands a second"
        yield f"{'':30}{'median':>8}{'min':>8}{'max':>8}{'of limit':>9}{'x recipe':>9}{'CPU ns':>7}"
        yield RULE
        for name in results.measured:
            yield _rate_line(results, ways.WAYS[name], size)
        yield ""


def _rate_line(results: Results, way: Way, size: int) -> str:
    rates = results.rates(way, size)
    spread = "".join(f"{rate / 1000:8,.0f}" for rate in (statistics.median(rates), min(rates), max(rates)))
    ratios = "".join(_cell(results.ratio(way, to, size), 9, 2) for to in (ways.LIMIT, ways.RECIPE))
    return f"{way.title:30}{spread}{ratios}{_cell(results.cpu(way, size), 7, 0)}"


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width},.{digits}f}"


def _costs(results: Results) -> Iterator[str]:
    if not results.costs:
        return
    yield "Of that the collector's own program, ns (the kernel's BPF statistics)"
    yield f"{'':30}" + "".join(f"{f'{size} bytes':>12}" for size in results.sizes)
    yield RULE
    for name in results.costs:
        way = ways.WAYS[name]
        yield f"{way.title:30}" + "".join(_cell(results.cost(way, size), 12, 0) for size in results.sizes)
    yield ""


def _durations(results: Results) -> Iterator[str]:
    if not results.durations:
        return
    yield "Seconds, the start of Python included"
    yield RULE
    titles = {"first_apply": "first apply", "second_apply": "second apply", "metrics": "metrics, once"}
    for name, title in titles.items():
        seconds: float = statistics.median(getattr(each, name) for each in results.durations)
        yield f"{title:30}{seconds:12.2f}"
    yield ""


def _verdicts(results: Results) -> Iterator[str]:
    found = [(wanted, _figures(wanted, results)) for wanted in WANTED]
    if not any(figures for _, figures in found):
        return
    yield f"{'Wanted':30}" + "".join(f"{f'{size} bytes':>12}" for size in results.sizes)
    yield RULE
    for wanted, figures in found:
        if figures:
            cells = "".join(_cell(value, 12, 0 if wanted.at_most else 2) for value in figures.values())
            yield f"{wanted.what:30}{cells}  {_word(all(map(wanted.passes, figures.values())))}"


def _figures(wanted: Wanted, results: Results) -> dict[int, float]:
    each = {size: wanted.figure(results, size) for size in results.sizes}
    return {size: value for size, value in each.items() if value is not None}


def _word(passes: bool) -> str:
    return "pass" if passes else "FAIL"


def as_json(results: Results) -> dict[str, Any]:
    return {
        "machine": {"kernel": platform.release(), "architecture": platform.machine(), "cpus": os.cpu_count()},
        "seconds": results.seconds,
        "rates": [_rate_json(results, name, size) for name in results.measured for size in results.sizes],
        "costs": [
            {"way": name, "bytes": size, "nanoseconds": results.cost(ways.WAYS[name], size)}
            for name in results.costs
            for size in results.sizes
        ],
        "durations": [asdict(each) for each in results.durations],
        "wanted": [
            {"what": wanted.what, "bytes": size, "value": value, "passes": wanted.passes(value)}
            for wanted in WANTED
            for size, value in _figures(wanted, results).items()
        ],
    }


def _rate_json(results: Results, name: str, size: int) -> dict[str, Any]:
    way = ways.WAYS[name]
    rates = results.rates(way, size)
    spread = {"median": statistics.median(rates), "min": min(rates), "max": max(rates), "rounds": rates}
    return {
        "way": name,
        "title": way.title,
        "bytes": size,
        "frames_per_second": spread,
        "of_limit": results.ratio(way, ways.LIMIT, size),
        "times_recipe": results.ratio(way, ways.RECIPE, size),
        "cpu_nanoseconds_per_frame": results.cpu(way, size),
    }
