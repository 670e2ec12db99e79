"""Which configuration is followed: the file, or what somebody applied or removed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from collector.control import choice
from collector.control.choice import Choice
from collector.control.config import BLANK, digest, load_text
from collector.control.lastgood import LastGood
from collector.control.notes import Notes, Pending

TEXT = (
    "version: 1\nsources: [{{name: pbx, type: span, interface: eth1, vni: {}}}]\n"
    "t_meters: [{{name: ohio, address: 192.0.2.2}}]\n"
)
TWELVE, THIRTEEN = TEXT.format(12), TEXT.format(13)


class Kernel:
    """What is pinned, in the place of bpffs."""

    def __init__(self) -> None:
        self.configuration: str | None = None
        self.notes = Notes()

    def change_notes(self, _folder: Path, **changes: Any) -> None:
        self.notes = replace(self.notes, **changes)

    def restart(self) -> None:
        """Of the machine."""
        self.configuration, self.notes = None, Notes()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(choice, "read_text", lambda _folder, _name: kernel.configuration)
    monkeypatch.setattr(choice, "read_notes", lambda _folder: kernel.notes)
    monkeypatch.setattr(choice, "change_notes", kernel.change_notes)
    return kernel


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "collector.yaml"


def vni(chosen: Choice) -> object:
    sources = chosen.file.config.sources
    return sources[0].vni if sources else None


def read(file: Path) -> Choice:
    chosen = Choice(file, file.parent, LastGood("default", {"STATE_DIRECTORY": str(file.parent)}))
    chosen.read()
    return chosen


def test_the_file(kernel: Kernel, file: Path) -> None:
    assert (read(file).file, read(file).file_error) == (BLANK, "")
    file.write_text(TWELVE)
    kernel.configuration = THIRTEEN
    chosen = read(file)
    assert (vni(chosen), chosen.file_error) == (12, "")
    assert chosen.runs
    assert chosen.runs.document.text == THIRTEEN
    kernel.configuration = TWELVE
    chosen.settle()
    assert chosen.runs is None


def test_what_cannot_be_used_leaves_what_runs(kernel: Kernel, file: Path) -> None:
    kernel.configuration = THIRTEEN
    assert (vni(read(file)), read(file).file_error) == (
        13,
        f"{file} is gone; what was applied before goes on",
    )
    file.write_text("version: 2\n")
    assert vni(read(file)) == 13
    assert read(file).file_error.startswith(f"{file}:1:10: version: ")


def test_what_was_not_confirmed_is_not_tried_again(kernel: Kernel, file: Path) -> None:
    file.write_text(THIRTEEN)
    kernel.configuration = TWELVE
    kernel.notes = Notes(unconfirmed=digest(load_text(THIRTEEN, "f").config))
    assert vni(read(file)) == 12
    assert read(file).file_error == (
        f"{file} was applied and not confirmed, so the one before it is in use; "
        "to use it all the same: collector apply"
    )
    file.write_text(TEXT.format(14))
    assert vni(read(file)) == 14


def test_no_other_file_while_one_waits(kernel: Kernel, file: Path) -> None:
    file.write_text(THIRTEEN)
    kernel.configuration = TWELVE
    kernel.notes = Notes(pending=Pending(1.0, "token", digest(load_text(TWELVE, "f").config)))
    assert vni(read(file)) == 12
    assert read(file).file_error.endswith("run: collector confirm, then: collector apply")
    file.write_text(TWELVE)
    assert read(file).file_error == ""


def test_what_is_done_by_hand_is_followed(kernel: Kernel, file: Path) -> None:
    file.write_text(TWELVE)
    chosen = read(file)
    kernel.configuration = TWELVE
    assert (chosen.refresh(wiped=False), vni(chosen)) == ("", 12)
    kernel.configuration = THIRTEEN
    assert chosen.refresh(wiped=False) == "the agent follows what was applied by hand"
    assert (vni(chosen), chosen.refresh(wiped=False)) == (13, "")
    kernel.configuration = None
    removed = "it was removed by hand (collector remove)"
    assert chosen.refresh(wiped=False) == f"the agent does nothing more: {removed}"
    assert (chosen.file, chosen.file_error) == (BLANK, removed)


def test_blank_is_what_nobody_wants_otherwise(kernel: Kernel, file: Path) -> None:
    assert read(file).is_blank
    file.write_text("version: 2\n")
    assert not read(file).is_blank
    file.write_text(TWELVE)
    kernel.configuration = TWELVE
    chosen = read(file)
    assert not chosen.is_blank
    kernel.configuration = None
    assert chosen.refresh(wiped=False)
    assert chosen.is_blank


def test_what_is_wiped_away_is_not_removed(kernel: Kernel, file: Path) -> None:
    file.write_text(TWELVE)
    kernel.configuration = TWELVE
    chosen = read(file)
    kernel.configuration = None
    assert (chosen.refresh(wiped=True), vni(chosen)) == ("", 12)


def test_what_is_taken_back_is_followed(kernel: Kernel, file: Path) -> None:
    kernel.configuration = THIRTEEN
    chosen = read(file)
    kernel.configuration, kernel.notes = TWELVE, replace(kernel.notes, unconfirmed="digest")
    assert chosen.refresh(wiped=False) == (
        "the agent follows what was there before the apply that was not confirmed"
    )
    assert (vni(chosen), chosen.file_error) == (12, "")


# After a restart of the machine


def applied(kernel: Kernel, file: Path, text: str) -> None:
    """By an agent, which leaves it on disk."""
    file.write_text(text)
    chosen = read(file)
    kernel.configuration = chosen.file.document.text
    chosen.settle()
    chosen.keep()


def pending(text: str) -> Notes:
    return Notes(pending=Pending(1.0, "token", digest(load_text(text, "f").config)))


def test_a_broken_file_leaves_what_ran_before_the_restart(kernel: Kernel, file: Path) -> None:
    applied(kernel, file, TWELVE)
    file.write_text("version: 2\n")
    kernel.restart()
    chosen = read(file)
    assert (vni(chosen), chosen.is_from_before, chosen.is_blank) == (12, True, False)
    assert chosen.file_error.startswith(f"{file}:1:10: version: ")
    chosen.keep()  # though nothing could be applied yet
    assert vni(read(file)) == 12


def test_what_ran_before_the_restart_goes_on_while_a_good_file_cannot(kernel: Kernel, file: Path) -> None:
    applied(kernel, file, TWELVE)
    file.write_text(THIRTEEN)
    kernel.restart()
    chosen = read(file)
    assert (vni(chosen), chosen.file_error, chosen.is_from_before) == (13, "", False)
    assert chosen.runs
    assert chosen.runs.document.text == TWELVE


@pytest.mark.parametrize("name", ["no-file", "removed", "no-source"])
def test_what_was_given_up_on_purpose_does_not_come_back(kernel: Kernel, file: Path, name: str) -> None:
    applied(kernel, file, TWELVE)
    if name == "no-file":
        kernel.restart()
        file.unlink()
        read(file).keep()
    elif name == "removed":
        chosen = read(file)
        kernel.restart()
        assert chosen.refresh(wiped=False) != ""
        chosen.keep()
    else:
        file.write_text("version: 1\n")
        chosen = read(file)
        kernel.configuration = None
        chosen.settle()
        chosen.keep()
    file.write_text("version: 2\n")
    kernel.restart()
    chosen = read(file)
    assert (chosen.file, chosen.runs, chosen.is_from_before) == (BLANK, None, False)


def test_a_restart_confirms_nothing(kernel: Kernel, file: Path) -> None:
    applied(kernel, file, TWELVE)
    chosen = read(file)
    file.write_text(THIRTEEN)
    kernel.configuration, kernel.notes = THIRTEEN, pending(THIRTEEN)
    assert chosen.refresh(wiped=False) == "the agent follows what was applied by hand"
    chosen.keep()
    for _ in range(2):  # and the next restart neither
        kernel.restart()
        chosen = read(file)
        assert (vni(chosen), chosen.is_from_before) == (12, True)
        assert chosen.file_error.startswith(f"{file} was applied and not confirmed")
        kernel.configuration = TWELVE
        chosen.settle()
        chosen.keep()
        assert kernel.notes.unconfirmed == digest(load_text(THIRTEEN, "f").config)
        assert vni(read(file)) == 12

    kernel.configuration, kernel.notes = THIRTEEN, Notes()  # it is applied all the same
    assert chosen.refresh(wiped=False) == "the agent follows what was applied by hand"
    chosen.keep()
    kernel.restart()
    assert (vni(read(file)), read(file).file_error) == (13, "")


def test_a_restart_does_not_confirm_the_first_apply(kernel: Kernel, file: Path) -> None:
    chosen = read(file)
    file.write_text(TWELVE)
    kernel.configuration, kernel.notes = TWELVE, pending(TWELVE)
    chosen.refresh(wiped=False)
    chosen.keep()
    kernel.restart()
    for _ in range(2):
        chosen = read(file)
        assert (chosen.file, chosen.is_blank) == (BLANK, False)
        assert chosen.file_error.startswith(f"{file} was applied and not confirmed")
        chosen.keep()
    file.write_text(THIRTEEN)
    assert vni(read(file)) == 13
