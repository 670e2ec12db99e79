"""The images that these tests start."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.lib.appliance import artefact

ROOT = Path(__file__).parents[2]
FILES = "dist/SHA256SUMS"  # the Makefile's name for them all
OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}  # this is no part of the `make test` that it runs in


@pytest.fixture(scope="session", autouse=True)
def images(pytestconfig: pytest.Config) -> None:
    """Built when something that they are made of is newer. The first process that needs them builds, and is
    seen to; others wait."""
    environment = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (ROOT / ".cache" / "images.lock").open("w") as lock, capture.global_and_fixture_disabled():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("\nWaiting until the images are built.", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "--silent", FILES], cwd=ROOT, env=environment, check=True, stdout=2)


@pytest.fixture(scope="session")
def root() -> Iterator[Path]:
    """The root image's files, with their owners and modes, for the tests that only look at them."""
    with TemporaryDirectory(prefix="collector-test-", dir="/var/tmp") as folder:
        unpacked = Path(folder) / "root"
        subprocess.run(
            ["unsquashfs", "-quiet", "-no-progress", "-dest", unpacked, artefact("squashfs")], check=True
        )
        yield unpacked


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not in memory: disks grow."""
    with TemporaryDirectory(prefix="collector-test-", dir="/var/tmp") as name:
        yield Path(name)
