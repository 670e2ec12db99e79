"""What is asked at the console, and what is answered."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from iso.installer import answers
from iso.installer.disks import Disk, row, settled
from iso.installer.errors import InstallError
from iso.installer.install import Journal, Plan
from iso.installer.layout import Layout
from iso.installer.screen import Screen

NO_DISK = """\
No disk was found that the collector can be installed on.

  - Behind a RAID adapter, disks are seen only when they belong to an array:
    make one in the adapter's own menu, or set the adapter to HBA (JBOD) mode.
  - If the firmware's setup says RAID, RST or VMD, choose AHCI or NVMe there.
  - A virtual machine needs a disk of {needed} or more, at any kind of adapter.
  - If the firmware's setup does not show the disk either, look at its cables.
"""
FAILED = "Enter: begin again, asking. log: show what was done. off: switch off.\n> "
PAGE = 20


class Conversation:
    def __init__(self, screen: Screen, layout: Layout) -> None:
        self.screen, self.layout = screen, layout
        self.by_hand = False  # the answer file has had its turn

    def plan(self, known: AbstractSet[Path]) -> Plan | None:
        """None when an answer file has come that was not known: a stick may be slow."""
        while True:
            disks = settled(self.layout)
            typed = self._ask_for_disk(disks, lambda: not self.by_hand and bool(answers.there() - known))
            if typed is None:
                return None
            disk = _numbered(disks, typed)
            if disk is None:
                if typed:
                    self.screen.say(f"There is no {typed} to choose.")
                continue
            if (plan := self._confirmed(disk)) is not None:
                return plan
            self.screen.say("Nothing was changed.")

    def _ask_for_disk(self, disks: Sequence[Disk], answered: Callable[[], bool]) -> str | None:
        usable = [disk for disk in disks if not disk.obstacle]
        self.screen.say("\nThe disks of this machine:\n" if disks else "")
        for disk in disks:
            mark = str(usable.index(disk) + 1) if disk in usable else "-"
            for line in row(disk, mark):
                self.screen.say(line)
        self.screen.say()
        if not usable:
            self.screen.say(NO_DISK.format(needed=f"{self.layout.needed / 1e9:.1f} GB"))
            return self.screen.ask("Enter: look again. > ", answered)
        return self.screen.ask("Install on which disk? Its number, or Enter to look again: ", answered)

    def _confirmed(self, disk: Disk) -> Plan | None:
        keep = disk.has_data and not disk.unlike and self._asked_to_keep(disk)
        if disk.has_data and disk.unlike:
            self.screen.say(f"Its data cannot be kept: {disk.unlike}.")
        if keep:
            self.screen.say(f"\nThe system on {disk.name} is replaced. Its data stays.")
        else:
            self.screen.say(f"\nALL that is on {disk.name} will be lost: {disk.model}, {disk.serial}")
        word = "install" if keep else "erase"
        typed = self.screen.ask(f"Type {word} to go on; anything else goes back: ")
        return Plan(disk, keep) if typed == word else None

    def _asked_to_keep(self, disk: Disk) -> bool:
        self.screen.say(f"\n{disk.name} holds a collector's data: its configuration, keys and logs.")
        while True:
            typed = self.screen.ask("Keep it? yes or no [yes]: ")
            if typed in {"", "yes", "y", "no", "n"}:
                return typed not in {"no", "n"}

    def agreed(self, plan: Plan) -> Plan:
        """As the answer file has it; data that is to be kept and cannot be is not given up."""
        disk = plan.disk
        if plan.keep and disk.unlike:
            raise InstallError(
                f"The data on {disk.name} is to be kept, and cannot be: {disk.unlike}.\n"
                "Nothing was changed. With `data: erase` in the answer file it is given up."
            )
        data = "its data stays" if plan.keep else "all that is on it will be lost"
        self.screen.say(f"On {disk.name}, {disk.model}, {disk.serial}: {data}.")
        return plan

    def end(self, plan: Plan, answer: answers.Answer | None) -> str:
        """How the machine goes on."""
        self.screen.say(f"\nThe collector is installed on {plan.disk.name}.")
        if answer is None:
            self.screen.ask("Remove the installation medium; then Enter starts the machine anew. > ")
            return "reboot"
        self.screen.say({"restart": "Restarting.", "poweroff": "Switching off."}[answer.then])
        return {"restart": "reboot", "poweroff": "poweroff"}[answer.then]

    def after_failure(self, journal: Journal) -> None:
        """Until a person is there."""
        while typed := self.screen.ask(FAILED):
            if typed == "log":
                self._show(journal.text)
            elif typed == "off":
                subprocess.run(["systemctl", "poweroff"], check=True)

    def _show(self, text: str) -> None:
        lines = text.splitlines()
        for start in range(0, len(lines), PAGE):
            self.screen.show("\n".join(line[:79] for line in lines[start : start + PAGE]))
            if start + PAGE < len(lines) and self.screen.ask("Enter: more. q: enough. > ") == "q":
                return


def _numbered(disks: Sequence[Disk], typed: str) -> Disk | None:
    usable = [disk for disk in disks if not disk.obstacle]
    return usable[int(typed) - 1] if typed in {str(number + 1) for number in range(len(usable))} else None
