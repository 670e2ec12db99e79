"""Disks as lsblk tells of them, and a person in front of the installer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from iso.installer import layout
from iso.installer.disks import Disk, understood

TREE = Path(__file__).parents[2]
LAYOUT = layout.read(TREE / "image/disk/repart")
EMPTY: dict[str, Any] = {
    "type": "disk", "size": 500_107_862_016, "model": None, "serial": None, "wwn": None, "tran": None,
    "ro": False, "rm": False, "log-sec": 512, "fstype": None, "label": None, "partlabel": None,
    "partn": None, "start": None, "mountpoints": [None],
}  # fmt: skip


def device(name: str, **others: Any) -> dict[str, Any]:
    return EMPTY | {"name": name, "path": f"/dev/{name}"} | {
        key.replace("_", "-"): value for key, value in others.items()
    }  # fmt: skip


def partitions(disk: str) -> list[dict[str, Any]]:
    """Those of an installed disk, whose data has grown."""
    return [
        device(
            f"{disk}{each.number}", type="part", size=each.size, partlabel=each.label, partn=each.number,
            start=2048 * each.number,
        )
        for each in LAYOUT.partitions
    ]  # fmt: skip


def disks(*devices: dict[str, Any]) -> list[Disk]:
    return understood(json.dumps({"blockdevices": devices}), LAYOUT)


class Person:
    """Stands for the screen: reads what is said, and types what the test has prepared."""

    def __init__(self, *typed: str) -> None:
        self.said = ""
        self._typed = list(typed)

    def say(self, text: str = "") -> None:
        self.said += f"{text}\n"

    show = say

    def ask(self, prompt: str, meanwhile: Callable[[], bool] = lambda: False) -> str | None:
        self.said += f"{prompt}\n"
        return None if meanwhile() else self._typed.pop(0)

    def require_narrow(self) -> None:
        assert [line for line in self.said.splitlines() if len(line) > 80] == []


def lines(text: str, start: str, count: int) -> Sequence[str]:
    """Those of a text from the one that begins like this."""
    found = text.splitlines()
    at = next(number for number, line in enumerate(found) if line.startswith(start))
    return found[at : at + count]
