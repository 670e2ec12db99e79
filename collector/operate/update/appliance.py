"""The appliance's own programs, and RAUC, which checks a bundle and writes it to the free slot."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from collector.errors import HostError
from collector.operate.update.words import refusal

LIBRARY = Path("/usr/lib/appliance")


@dataclass(frozen=True)
class Slot:
    """`state`: empty; new: installed, and not yet found good; good; failed: three tries did not start it."""

    name: str
    version: str
    state: str


@dataclass(frozen=True)
class Slots:
    """`chosen`: the name of the slot for the next restart; `development`: its keys are no release's."""

    running: Slot
    other: Slot
    chosen: str
    development: bool
    installing: bool


def require_appliance() -> None:
    if not LIBRARY.is_dir():
        raise HostError(
            "this is not the appliance: here the collector is updated as a package",
            "Install the new package: sudo apt install ./collector_VERSION.deb",
        )
    if os.geteuid() != 0:
        raise HostError("updates need root", "Put sudo before the command.")


def read_slots() -> Slots:
    found = json.loads(_run(str(LIBRARY / "slots")))
    here, there = found["running"], "B" if found["running"] == "A" else "A"
    running, other = (Slot(name, **found["slots"][name]) for name in (here, there))
    return Slots(running, other, found["chosen"], found["keys"] == "development", found["installing"])


def choose(slot: Slot) -> None:
    """The next restart takes this one."""
    _run(str(LIBRARY / "boot-choice"), "set-primary", slot.name)


def restart() -> None:
    _run("systemctl", "reboot")


def install(bundle: str, progress: Callable[[int], None]) -> None:
    """`progress` is told percentages. CollectorError: what runs is as it was."""
    error = ""
    # RAUC's service goes on without this process: Ctrl-C must not reach it.
    with subprocess.Popen(
        ["rauc", "install", bundle], env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True,
    ) as rauc:  # fmt: skip
        for line in rauc.stdout or ():
            percent, found, _ = line.strip().partition("% ")
            if found and percent.isdigit():
                progress(int(percent))
            for mark in ("LastError: ", "Failed to contact rauc service: ", "Error creating proxy: "):
                error = line.strip().removeprefix(mark) if line.startswith(mark) else error
    if rauc.returncode != 0:
        raise refusal(error, bundle)


def _run(*command: str) -> str:
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HostError(f"{command[0]} failed: {done.stderr.strip()}", "Look at: journalctl -b -p warning")
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}
