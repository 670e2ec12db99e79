"""The tiers: tests below `unit` need nothing; those below the folders named here need root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import configuration

TESTS = Path(__file__).parent
ROOT_TIERS = frozenset({"appliance", "bench", "bpf", "netns"})

configuration.set_hypothesis_home_dir(TESTS.parent / ".cache" / "hypothesis")


def tier(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """On a laptop a test that lacks root is skipped; in CI that would hide it, so there it fails."""
    if tier(item) not in ROOT_TIERS or os.geteuid() == 0:
        return
    reason = f"the tests in tests/{tier(item)} need root: sudo make test"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true, so this is a failure, not a skip)", pytrace=False)
    pytest.skip(reason)
