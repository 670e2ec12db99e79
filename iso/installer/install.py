"""One installation, when it is clear what is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from iso.installer import medium, write
from iso.installer.disks import Disk
from iso.installer.errors import InstallError
from iso.installer.layout import DATA, Layout
from iso.installer.screen import Screen


@dataclass(frozen=True)
class Plan:
    disk: Disk
    keep: bool  # the data that is on it


class Journal:
    """All that was said and done, for whoever wants to know later."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, text: str) -> None:
        with self._file.open("a") as file:
            file.write(text)

    @property
    def text(self) -> str:
        return self._file.read_text()


def install(plan: Plan, layout: Layout, screen: Screen, journal: Journal) -> None:
    journal.add(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, by this machine's clock: {plan}\n")
    if not plan.keep:
        screen.say(f"Laying out {plan.disk.name}.")
        write.lay_out(plan.disk, journal.add)
    target = write.target(plan.disk, layout)
    images = medium.images(layout)
    write.write(target, images, lambda done, total: screen.progress("Writing", done, total))
    write.verify(target, images, lambda done, total: screen.progress("Reading back", done, total))
    write.write_boot_sector(plan.disk)
    journal.add("All that was written was read back, and is the same.\n")
    try:
        write.leave_log(target, journal.text, journal.add)
    except (InstallError, OSError) as error:
        if not plan.keep:
            raise InstallError(f"The log could not be left on {plan.disk.path}: {error}") from None
        screen.say(f"\nThe data on {target.nodes[DATA]} was kept, but cannot be written to: {error}")
        screen.say("If it is damaged, the collector starts without it and says DEGRADED. To give")
        screen.say("it up, install again, and do not keep it.")
