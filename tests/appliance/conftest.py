"""The images that these tests start."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = "dist/SHA256SUMS"  # the Makefile's name for them all
OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}  # this is no part of the `make test` that it runs in


@pytest.fixture(scope="session", autouse=True)
def images(pytestconfig: pytest.Config) -> None:
    """Built when something that they are made of is newer. The first process that needs them builds, and is
    seen to; others wait."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}
    }
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    (ROOT / ".cache").mkdir(exist_ok=True)
    with (ROOT / ".cache" / "images.lock").open("w") as lock, capture.global_and_fixture_disabled():
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "--silent", FILES], cwd=ROOT, env=environment, check=True, stdout=2)
