"""`python -m tests.bench`: see the package's own words on what is measured and how."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from collector.errors import CollectorError, HostError
from collector.operate.lab import Lab, ensure_bpffs
from tests.bench import product, report
from tests.bench.report import Results
from tests.bench.rig import OBJECT, Rig, Way, take_precedence
from tests.bench.ways import COLLECTOR_WAYS, COST_WAYS, WAYS

SIZES = (64, 214, 1400)
SMALLEST, LARGEST = 64, 1430  # what a path of 1,500 bytes carries as VXLAN over IPv6
DURATION_ROUNDS = 3


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Rounds of all ways.")
@click.option("--seconds", default=0.5, show_default=True, help="How long each way and size is measured.")
@click.option("--sizes", default=",".join(map(str, SIZES)), show_default=True, help="Bytes of the frames.")
@click.option("--rows", default=",".join(WAYS), show_default=True, help="The ways to measure.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Writes the figures to this file too.")
def main(rounds: int, seconds: float, sizes: str, rows: str, file: Path | None) -> None:
    """Measures how many frames a second the collector and other ways forward.

    It needs root and two CPUs, takes both of them almost whole, and removes what it made.

    Example: python -m tests.bench --rounds 3 --sizes 214 --rows limit,xdp,recipe
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        results = Results(_parse_sizes(sizes), seconds)
        _measure(results, _parse_rows(rows), rounds)
    except CollectorError as error:
        click.echo(f"{error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("Stopped; everything is removed.", err=True)
        sys.exit(130)
    click.echo(report.table(results))
    if file:
        file.write_text(json.dumps(report.as_json(results), indent=2) + "\n")


def _parse_sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text} is not a list of numbers such as 64,214") from None
    if not all(SMALLEST <= size <= LARGEST for size in sizes):
        raise click.BadParameter(f"sizes are from {SMALLEST} to {LARGEST} bytes")
    return sizes


def _parse_rows(text: str) -> list[Way]:
    names = text.split(",")
    unknown = [name for name in names if name not in WAYS]
    if unknown:
        raise click.BadParameter(f"there is no {', '.join(unknown)}; the rows are {', '.join(WAYS)}")
    return [way for name, way in WAYS.items() if name in names]


def _measure(results: Results, chosen: Sequence[Way], rounds: int) -> None:
    _require()
    with Lab() as lab:
        rig = Rig(lab)
        take_precedence()
        for number in range(1, rounds + 1):
            click.echo(f"Round {number} of {rounds}", err=True)
            for way in chosen:
                _rates(rig, results, way)
        if any(way in chosen for way in COLLECTOR_WAYS):
            click.echo("The program's own cost, apply and metrics", err=True)
            _costs(rig, results, [way for way in COST_WAYS if way in chosen])
            results.durations += [product.durations(rig) for _ in range(DURATION_ROUNDS)]


def _require() -> None:
    if os.geteuid() != 0:
        raise HostError("The benchmark needs root", "run it with sudo")
    if not OBJECT.exists():
        raise HostError(f"{OBJECT} is missing", "build it: sudo make bench")
    ensure_bpffs()


def _rates(rig: Rig, results: Results, way: Way) -> None:
    with rig.forwarding(way):
        for size in results.sizes:
            results.add(way, size, rig.measure(way, size, results.seconds))


def _costs(rig: Rig, results: Results, chosen: Sequence[Way]) -> None:
    """Apart from the rates: the kernel's statistics take time themselves."""
    with product.kernel_statistics():
        for way in chosen:
            with rig.forwarding(way):
                for size in results.sizes:
                    cost = product.cost(rig, way, size, results.seconds)
                    results.costs.setdefault(way.name, {})[size] = cost


main()
