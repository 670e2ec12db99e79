"""The installer: asks, or does as the answer file says; then installs. Start here."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from iso.installer import answers, layout, medium
from iso.installer.conversation import Conversation
from iso.installer.disks import Disk, settled
from iso.installer.errors import InstallError
from iso.installer.install import Journal, Plan, install
from iso.installer.screen import Screen, consoles

ALL_THERE = 60.0  # seconds after power on: until then an adapter may still find disks


def main() -> None:
    journal = Journal(Path("/run/collector-install.log"))
    screen = Screen(consoles(), journal.add)
    screen.say(f"\n\nVXLAN collector {version()}: installation\n")
    talk = Conversation(screen, layout.read(medium.DEFINITIONS))
    state("at work")
    then = ""
    while not then:
        try:
            then = installed(talk, journal)
        except InstallError as error:
            state(f"failed: {error}")
            screen.say(f"\nThe installation has FAILED.\n\n{error}\n")
            talk.by_hand = True
            talk.after_failure(journal)
    state("done")
    subprocess.run(["systemctl", then], check=True)


def installed(talk: Conversation, journal: Journal) -> str:
    """What is to happen then: reboot or poweroff; nothing when it is to begin again."""
    medium.require_whole(lambda done, total: talk.screen.progress("Checking this medium", done, total))
    known = answers.there()
    answer = None if talk.by_hand else answers.find()
    plan = None if answer else talk.plan(known)
    if plan is None:
        answer = answer or answers.find()
        if answer is None:  # pulled out meanwhile
            return ""
        plan = unattended(talk, answer)
    install(plan, talk.layout, talk.screen, journal)
    return talk.end(plan, answer)


def unattended(talk: Conversation, answer: answers.Answer) -> Plan:
    talk.screen.say(f"Nobody is asked: there is {answer.where}.")
    disk = chosen(talk, answer)
    keep = disk.has_data and answer.data == "keep"
    return talk.agreed(Plan(disk, keep))


def chosen(talk: Conversation, answer: answers.Answer) -> Disk:
    while True:
        try:
            return answers.choose(answer, settled(talk.layout))
        except InstallError:
            if time.monotonic() > ALL_THERE:
                raise


def version() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("IMAGE_VERSION=")), "")


def state(text: str) -> None:
    """For `systemctl status`."""
    subprocess.run(["systemd-notify", f"--status={' '.join(text.split())}"], check=False)


if __name__ == "__main__":
    main()
