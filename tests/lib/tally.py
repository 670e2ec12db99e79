"""What tests count, to be told at the end of the run: by a title, and by what was counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import pytest

Tally = Counter[str]

_tallies: defaultdict[str, Tally] = defaultdict(Counter)


def tally(title: str) -> Tally:
    return _tallies[title]


def add(others: Mapping[str, Mapping[str, int]]) -> None:
    """What another process has counted."""
    for title, counted in others.items():
        _tallies[title].update(counted)


def plain() -> dict[str, dict[str, int]]:
    return {title: dict(counted) for title, counted in _tallies.items()}


def write(reporter: pytest.TerminalReporter) -> None:
    for title, counted in sorted(_tallies.items()):
        if counted:
            cases = ", ".join(f"{count:,} {what}" for what, count in sorted(counted.items()))
            reporter.write_line(f"{title}: {cases}")
