"""What the appliance takes of what is brought to it: by whom, and when again."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest
import yaml

PROGRAM = Path(__file__).parents[2] / "image/root/usr/lib/appliance/intake"
USER_DATA, VOLUME = "the user data", "the volume COLLECTOR"


class Box:
    """A machine's folders, and whatever is brought to it. A file that says `broken` is refused."""

    def __init__(self, intake: Any, folder: Path) -> None:
        self.intake, self.folder = intake, folder
        self.told = 0
        self.keys: list[tuple[str, bytes]] = []
        self.file, self.refused = folder / "collector.yaml", folder / "collector-refused"
        for name in ("memory", "credentials", "stick"):
            (folder / name).mkdir()

    def user_data(self, keys: Mapping[str, object]) -> None:
        (self.folder / "merged.json").write_text(json.dumps(keys))

    def credential(self, text: str) -> None:
        (self.folder / "credentials" / "collector.yaml").write_text(text)

    def stick(self, text: str, name: str = "collector.yaml") -> None:
        (self.folder / "stick" / name).write_text(text)

    def boot(self) -> str | None:
        """What the collector's file holds then."""
        assert self.intake.main() == 0
        return self.file.read_text() if self.file.exists() else None

    def refusal(self) -> str | None:
        return self.refused.read_text() if self.refused.exists() else None


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    loader = SourceFileLoader("intake", str(PROGRAM))
    spec = spec_from_loader("intake", loader)
    assert spec is not None
    intake = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "intake", intake)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(intake)
    box = Box(intake, tmp_path)

    def check(brought: Any) -> None:
        if b"broken" in brought.content:
            raise intake.RefusedError(brought.where, "collector.yaml:1:1: broken\n")

    def tell_collector() -> None:
        box.told += 1

    def add_keys(brought: Any) -> None:
        box.keys.append((brought.where, brought.content))

    def volume() -> list[Any]:
        names = (intake.CONFIGURATION, intake.KEYS)
        return [each for name in names for each in intake.read(tmp_path / "stick", "volume", VOLUME, name)]

    for name, value in {
        "FILE": box.file, "REFUSED": box.refused, "MEMORY": tmp_path / "memory",
        "MERGED": tmp_path / "merged.json", "CREDENTIALS": tmp_path / "credentials",
        "administrator": lambda: None,
        "check": check, "tell_collector": tell_collector, "add_keys": add_keys, "volume": volume,
    }.items():  # fmt: skip
        monkeypatch.setattr(intake, name, value)
    return box


def test_nothing_was_brought(box: Box) -> None:
    assert (box.boot(), box.refusal(), box.told) == (None, None, 0)


def test_the_first_one_found_wins_and_settles_the_others(box: Box) -> None:
    box.user_data({"collector": "version: 1 # cloud\n"})
    box.credential("version: 1 # credential\n")
    box.stick("version: 1 # stick\n")
    assert box.boot() == "version: 1 # cloud\n"
    assert box.boot() == "version: 1 # cloud\n"
    assert box.told == 1
    box.stick("version: 1 # stick, changed\n")
    assert (box.boot(), box.told) == ("version: 1 # stick, changed\n", 2)


def test_keys_of_user_data_become_a_file_in_their_order(box: Box) -> None:
    keys = {"version": 1, "sources": [{"name": "pbx", "type": "span"}], "t_meters": []}
    box.user_data({"collector": keys})
    assert list(yaml.safe_load(box.boot() or "").items()) == list(keys.items())


def test_an_edit_stays_until_something_else_is_brought(box: Box) -> None:
    box.credential("version: 1\n")
    box.boot()
    box.file.write_text("version: 1 # by hand\n")
    assert box.boot() == "version: 1 # by hand\n"
    box.credential("version: 1 # anew\n")
    assert box.boot() == "version: 1 # anew\n"


def test_a_broken_one_is_refused_at_every_boot_and_changes_nothing(box: Box) -> None:
    box.file.write_text("version: 1 # good\n")
    box.stick("broken")
    for _ in range(2):
        assert box.boot() == "version: 1 # good\n"
        assert box.refusal() == f"{VOLUME}\ncollector.yaml:1:1: broken\n"
    assert box.told == 0
    box.stick("version: 1 # mended\n")
    assert (box.boot(), box.refusal(), box.told) == ("version: 1 # mended\n", None, 1)


def test_a_good_one_is_taken_in_place_of_a_broken_one(box: Box) -> None:
    box.user_data({"collector": "broken"})
    box.stick("version: 1\n")
    assert (box.boot(), box.refusal()) == ("version: 1\n", None)
    assert (box.boot(), box.refusal(), box.told) == ("version: 1\n", None, 1)


def test_what_cloud_init_wrote_itself_goes_first(box: Box) -> None:
    box.file.write_text("version: 1 # cloud\n")
    box.user_data({"write_files": [{"path": "/etc/motd"}, {"path": str(box.file), "content": "..."}]})
    box.credential("version: 1 # credential\n")
    assert (box.boot(), box.told) == ("version: 1 # cloud\n", 1)


def test_user_data_of_another_kind(box: Box) -> None:
    box.user_data({"collector": None})
    box.boot()
    said = "collector: must hold the keys of collector.yaml, or its text after |"
    assert box.refusal() == f"{USER_DATA}\n{said}\n"


def test_keys_are_added_once_even_where_the_file_is_refused(box: Box) -> None:
    box.stick("broken")
    box.stick("ssh-ed25519 AAAA one\n", "authorized_keys")
    box.boot()
    box.boot()
    assert box.keys == [(VOLUME, b"ssh-ed25519 AAAA one\n")]
    assert box.refusal() == f"{VOLUME}\ncollector.yaml:1:1: broken\n"


def test_a_link_on_a_volume_is_not_followed(box: Box) -> None:
    (box.folder / "stick" / "collector.yaml").symlink_to("/etc/passwd")
    box.boot()
    assert box.refusal() == f"{VOLUME}\ncollector.yaml: this is no file\n"


def test_a_folder_on_a_volume(box: Box) -> None:
    (box.folder / "stick" / "collector.yaml").mkdir()
    box.boot()
    assert box.refusal() == f"{VOLUME}\ncollector.yaml: this is no file\n"
