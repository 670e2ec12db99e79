"""What the installer asks a person, and that nothing is overwritten without a typed word."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from iso.installer import answers, conversation
from iso.installer.conversation import Conversation
from iso.installer.disks import Disk
from iso.installer.errors import InstallError
from iso.installer.install import Journal, Plan
from tests.lib.installer import LAYOUT, Person, device, disks, lines, partitions

NONE: frozenset[Path] = frozenset()
BLANK = device("nvme0n1", model="Samsung SSD 980", serial="S64D", tran="nvme")
INSTALLED = device("sda", model="WDC WD10EZEX", serial="0123", tran="sata", children=partitions("sda"))
STICK = device("sdb", model="Ultra", serial="4C53", tran="usb", rm=True, label="COLLECTOR_ISO")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> list[Disk]:
    found = disks(BLANK, INSTALLED, STICK)
    monkeypatch.setattr(conversation, "settled", lambda _layout: list(found))
    monkeypatch.setattr(answers, "there", lambda: NONE)
    return found


def talk(person: Person) -> Conversation:
    return Conversation(cast(Any, person), LAYOUT)


def test_a_blank_disk(there: list[Disk]) -> None:
    person = Person("1", "erase")
    assert talk(person).plan(NONE) == Plan(there[0], keep=False)
    assert (
        person.said
        == """\

The disks of this machine:

    1  nvme0n1    500.1 GB  nvme    Samsung SSD 980
       serial number S64D
    2  sda        500.1 GB  sata    WDC WD10EZEX
       serial number 0123
       holds a collector and its data
    -  sdb        500.1 GB  usb     Ultra
       serial number 4C53
       not usable: the medium that this installation came from

Install on which disk? Its number, or Enter to look again:\x20

ALL that is on nvme0n1 will be lost: Samsung SSD 980, S64D
Type erase to go on; anything else goes back:\x20
"""
    )
    person.require_narrow()


@pytest.mark.parametrize("typed", ["", "yes", "install", "Erase", "1"])
def test_any_other_word_changes_nothing(there: list[Disk], typed: str) -> None:
    person = Person("1", typed, "1", "erase")
    assert talk(person).plan(NONE) == Plan(there[0], keep=False)
    assert person.said.count("The disks of this machine:") == 2
    assert "\nNothing was changed.\n" in person.said


def test_data_is_kept_unless_told(there: list[Disk]) -> None:
    assert talk(Person("2", "", "install")).plan(NONE) == Plan(there[1], keep=True)
    assert talk(Person("2", "what", "no", "erase")).plan(NONE) == Plan(there[1], keep=False)
    # The word for the one does not do for the other.
    assert talk(Person("2", "no", "install", "2", "", "install")).plan(NONE) == Plan(there[1], keep=True)


def test_a_number_that_there_is_not(there: list[Disk]) -> None:
    person = Person("3", "", "1", "erase")
    assert talk(person).plan(NONE) == Plan(there[0], keep=False)
    assert person.said.count("There is no 3 to choose.") == 1


def test_no_disk_says_what_to_do(there: list[Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [[], [there[2]], [there[0]]]
    monkeypatch.setattr(conversation, "settled", lambda _layout: looks.pop(0))
    person = Person("", "", "1", "erase")
    assert talk(person).plan(NONE) == Plan(there[0], keep=False)
    assert lines(person.said, "No disk was found", 3) == [
        "No disk was found that the collector can be installed on.",
        "",
        "  - Behind a RAID adapter, disks are seen only when they belong to an array:",
    ]
    person.require_narrow()


def test_an_answer_file_that_comes_later(there: list[Disk], monkeypatch: pytest.MonkeyPatch) -> None:
    assert there
    monkeypatch.setattr(answers, "there", lambda: {Path("/a")})
    assert talk(Person()).plan(NONE) is None
    after_its_turn = talk(Person("1", "erase"))
    after_its_turn.by_hand = True
    assert after_its_turn.plan(NONE) == Plan(there[0], keep=False)


def test_data_that_cannot_be_kept_is_not_given_up_unasked() -> None:
    (disk,) = disks(device("sda", children=partitions("sda")[3:]))
    with pytest.raises(InstallError) as error:
        talk(Person()).agreed(Plan(disk, keep=True))
    assert str(error.value) == (
        "The data on sda is to be kept, and cannot be: partition 1 is not collector-bios.\n"
        "Nothing was changed. With `data: erase` in the answer file it is given up."
    )
    assert talk(Person()).agreed(Plan(disk, keep=False)) == Plan(disk, keep=False)


def test_after_a_failure_the_log_can_be_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log")
    journal.add("".join(f"line {number}\n" for number in range(25)))
    person = Person("log", "", "log", "q", "")
    talk(person).after_failure(journal)
    assert person.said.count("line 0\n") == 2
    assert person.said.count("line 24\n") == 1
