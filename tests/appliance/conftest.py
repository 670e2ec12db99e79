"""The root image's files, for the tests that only look at them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.lib.appliance import artefact


@pytest.fixture(scope="session")
def root() -> Iterator[Path]:
    """The files of the root image that `make image` built, with their owners and modes."""
    with TemporaryDirectory(prefix="collector-test-", dir="/var/tmp") as folder:
        unpacked = Path(folder) / "root"
        subprocess.run(
            ["unsquashfs", "-quiet", "-no-progress", "-dest", unpacked, artefact("squashfs")], check=True
        )
        yield unpacked
