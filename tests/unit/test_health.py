"""When the appliance's running slot is good, and what is said and done when it is not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lib.grubenv import FAILED, FRESH, INSTALLED, block, values

APPLIANCE = Path(__file__).parents[2] / "image/root/usr/lib/appliance"
BEFORE = "an inet address of eth0\nthe NIC 52:54:00:00:00:01, called eth0\n"
ON_TRIAL = INSTALLED | {"B_TRY": "1"}
GOOD = "Slot {}, version 2.0.0, is good."

# What runs and what has failed is in files. A sleep lets the next thing happen, and the last ends the test.
STUBS = {
    "systemctl": """
echo "$*" >> calls
case $* in
    *is-active*) ! grep -qx "${3}" stopped ;;
    list-units*) cat failed ;;
esac
""",
    "sleep": """
[ -s happens ] || { kill -TERM $PPID; exit; }
eval "$(head -n 1 happens)"
sed -i 1d happens
""",
    "how-it-is": "cat now",
    "intact": "[ ! -e damaged ]",
    "sync": "",
}


class Box:
    """The scripts, with the machine's paths and programs replaced by ours."""

    def __init__(self, folder: Path, slot: str, known: dict[str, str], *, trial: bool = False) -> None:
        self.folder = folder
        for name in ("health", "boot-choice"):
            text = (APPLIANCE / name).read_text()
            for path in ("/usr/lib/appliance", "/run/appliance", "/var/lib/appliance", "/etc", "/proc"):
                text = text.replace(path, str(folder))
            self._program(name, text)
        for name, text in STUBS.items():
            self._program(name, f"#!/bin/sh\n{text}")
        self.write("os-release", "IMAGE_VERSION=2.0.0\n")
        self.write("cmdline", f"rauc.slot={slot}{' appliance.trial' if trial else ''} quiet\n")
        for name in ("grubenv", "grubenv.copy"):
            (folder / name).write_bytes(block(known))
        for name in ("stopped", "failed", "failed-before", "happens", "calls"):
            self.write(name, "")
        for name in ("before", "now"):
            self.write(name, BEFORE)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def read(self, name: str) -> str:
        file = self.folder / name
        return file.read_text() if file.exists() else ""

    def _program(self, name: str, text: str) -> None:
        self.write(name, text)
        (self.folder / name).chmod(0o755)

    def run(self) -> tuple[list[str], bool]:
        """What it says, and whether it came to its end."""
        known = {
            "PATH": f"{self.folder}:/usr/bin:/bin",
            "BOOT_ENV": str(self.folder),
            "TMPDIR": str(self.folder),
        }
        done = subprocess.run(
            [self.folder / "health"], env=known, cwd=self.folder, capture_output=True, text=True, check=False
        )
        return done.stdout.splitlines(), done.returncode == 0

    def known(self) -> dict[str, str]:
        found = values((self.folder / "grubenv").read_bytes())
        assert found
        return found

    def restarts(self) -> bool:
        return "start appliance-back.service" in self.read("calls")


def test_a_machine_that_is_well_is_good(tmp_path: Path) -> None:
    box = Box(tmp_path, "A", FRESH | {"A_TRY": "2"})
    assert box.run() == ([GOOD.format("A")], True)
    assert box.known() == FRESH
    assert box.read("fallback") == ""


def test_it_waits_until_it_is_well_and_says_once_why(tmp_path: Path) -> None:
    box = Box(tmp_path, "A", FRESH | {"A_TRY": "1"})
    box.write("stopped", "ssh.service\n")
    box.write("happens", ":\n:\n> stopped\n")
    assert box.run() == (["ssh.service does not run", GOOD.format("A")], True)
    assert box.known() == FRESH


def test_a_slot_without_another_is_never_restarted(tmp_path: Path) -> None:
    box = Box(tmp_path, "A", FRESH | {"A_TRY": "1"})
    box.write("stopped", "ssh.service\ncollector.service\n")
    box.write("happens", ":\n" * 5)
    assert box.run() == (["ssh.service does not run", "collector.service does not run"], False)
    assert box.known()["A_TRY"] == "1"
    assert not box.restarts()


def test_an_update_that_is_well_is_good(tmp_path: Path) -> None:
    box = Box(tmp_path, "B", ON_TRIAL, trial=True)
    box.write("happens", ":\n")
    assert box.run() == ([GOOD.format("B")], True)
    assert box.known() == INSTALLED | {"B_GOOD": "1"}
    assert box.read("calls").splitlines()[-1] == "stop appliance-back.timer"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("now", BEFORE.splitlines(keepends=True)[0], "missing: the NIC 52:54:00:00:00:01, called eth0"),
        ("now", BEFORE.splitlines(keepends=True)[1], "missing: an inet address of eth0"),
        ("failed", "chrony.service loaded failed failed Time\n", "chrony.service has failed"),
        ("stopped", "collector.service\n", "collector.service does not run"),
    ],
)
def test_an_update_must_have_what_was_there_before(tmp_path: Path, name: str, text: str, why: str) -> None:
    box = Box(tmp_path, "B", ON_TRIAL, trial=True)
    box.write(name, text)
    box.write("happens", ":\n")
    assert box.run() == ([why], False)
    assert box.known() == ON_TRIAL
    assert box.read("trial") == f"version 2.0.0: {why}\n"


def test_what_failed_before_may_fail_again(tmp_path: Path) -> None:
    box = Box(tmp_path, "B", ON_TRIAL, trial=True)
    box.write("failed", "chrony.service loaded failed failed Time\n")
    box.write("failed-before", "chrony.service\n")
    box.write("happens", ":\n")
    assert box.run() == ([GOOD.format("B")], True)


def test_an_update_that_is_well_only_at_times_is_not_good(tmp_path: Path) -> None:
    box = Box(tmp_path, "B", ON_TRIAL, trial=True)
    box.write("happens", "echo collector.service > stopped\n:\n")
    assert box.run() == (["collector.service does not run"], False)
    assert box.known() == ON_TRIAL


def test_a_damaged_slot_is_given_up_at_once(tmp_path: Path) -> None:
    box = Box(tmp_path, "B", ON_TRIAL, trial=True)
    box.write("damaged", "")
    assert box.run() == (["its slot is damaged"], False)
    assert box.known()["B_OK"] == "0"
    assert box.restarts()


@pytest.mark.parametrize(
    ("noted", "why"),
    [("", "the new version did not start"), ("version 3: x has failed\n", "version 3: x has failed")],
)
def test_a_fallback_is_said(tmp_path: Path, noted: str, why: str) -> None:
    box = Box(tmp_path, "A", FAILED)
    box.write("trial", noted)
    assert box.run() == ([GOOD.format("A")], True)
    assert box.read("fallback") == f"this machine went back to version 2.0.0 by itself: {why}\n"
    assert box.known() == FAILED
