"""Packer, with a copy of the folder packer/, and beside it a dist/ of the test's own or another's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "packer"


class Packer:
    def __init__(self, folder: Path, dist: Path | None = None) -> None:
        if shutil.which("packer") is None:
            pytest.skip("there is no packer")
        self.folder = folder
        self.sources = shutil.copytree(SOURCES, folder / "packer")
        self.dist = folder / "dist"
        self.dist.symlink_to(dist) if dist else self.dist.mkdir()

    def execute(self, *arguments: str, seconds: float = 60) -> tuple[int, str]:
        # timeout also ends what Packer has started.
        done = subprocess.run(
            ["timeout", "--kill-after=30", f"{seconds:.0f}", "packer", *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "CHECKPOINT_DISABLE": "1",
                "PACKER_CACHE_DIR": str(self.folder / "cache"),
                "PACKER_CONFIG_DIR": str(self.folder),
                "PACKER_NO_COLOR": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if "part of a plugin that is not installed" in done.stdout:
            pytest.skip("this Packer wants its plugins: packer init packer/plugins")
        return done.returncode, done.stdout
