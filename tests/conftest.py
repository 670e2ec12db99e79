"""The tiers: tests below `unit` need nothing; those below the folders named here need root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import configuration, settings

from tests.lib import tally
from tests.lib.lanes import own_mounts

TESTS = Path(__file__).parent
ROOT_TIERS = frozenset({"appliance", "bench", "bpf", "netns"})
# Images are built beside the first of them; those that watch the clock come when that is done.
TURN = {"unit": 0, "bpf": 1, "appliance": 2, "netns": 3}

configuration.set_hypothesis_home_dir(TESTS.parent / ".cache" / "hypothesis")
# How long a case takes says nothing on a machine that does other things as well.
settings.register_profile("collector", deadline=None)
settings.load_profile("collector")


def tier(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of machines, what starts most of them is first, so that all processes end together."""
    files: dict[str, dict[Path, None]] = {}
    for item in items:
        files.setdefault(tier(item), {})[item.path] = None
    turns = {
        path: TURN[name] + number / len(paths)
        for name, paths in files.items()
        for number, path in enumerate(paths)
    }
    items.sort(key=lambda item: (-starts(item), turns[item.path]))


def starts(item: pytest.Item) -> int:
    """Of machines, each of which takes a minute or more."""
    mark = item.get_closest_marker("vm")
    return mark.kwargs["starts"] if mark else 0


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """On a laptop a test that lacks root is skipped; in CI that would hide it, so there it fails."""
    if tier(item) not in ROOT_TIERS:
        return
    if os.geteuid() == 0:
        own_mounts()
        return
    reason = f"the tests in tests/{tier(item)} need root: sudo make test"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true, so this is a failure, not a skip)", pytrace=False)
    pytest.skip(reason)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes (pytest-xdist) hands over what it counted,"""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tallies"] = tally.plain()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """and the one that leads them takes it."""
    tally.add(getattr(node, "workeroutput", {}).get("tallies", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tally.write(terminalreporter)
