"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.box import Box, new_box
from tests.lib.fault import Faulty


@pytest.fixture(scope="session", autouse=True)
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    with Faulty(tmp_path_factory.mktemp("faulty")) as server:
        yield server


@pytest.fixture
def box(tmp_path: Path, faulty: Faulty) -> Iterator[Box]:
    """A collector's machine with a mirror port at eth1 and a t-meter beyond eth0; nothing is applied yet."""
    with new_box(tmp_path, faulty) as box:
        box.cable()
        yield box


@pytest.fixture
def bare_box(tmp_path: Path, faulty: Faulty) -> Iterator[Box]:
    """The same without its cables."""
    with new_box(tmp_path, faulty) as box:
        yield box
