"""The installer's answer file: what it may say, and which disk it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from iso.installer import answers
from iso.installer.answers import Answer, choose, parse
from iso.installer.errors import InstallError
from tests.lib.installer import device, disks

WHERE = "install.yaml"
FOUR = disks(
    device("sda", model="WDC WD10EZEX", serial="0123", tran="sata"),
    device("sdb", model="WDC WD40", serial="WD-124", tran="sata", size=4_000_787_030_016),
    device("nvme0n1", model="Samsung SSD 980", serial="S64D", tran="nvme"),
    device("sdc", model="Ultra", serial="4C53", tran="usb", rm=True),
)


def test_all_that_it_may_say() -> None:
    text = "disk: {serial: 0123, bus: sata, size: '>=100G'}\ndata: erase\nthen: poweroff\n"
    wanted = {"serial": "0123", "bus": "sata", "size": ">=100G"}
    assert parse(text, WHERE) == Answer(WHERE, wanted, "erase", "poweroff")


def test_what_it_need_not_say() -> None:
    assert parse("disk: any\n", WHERE) == Answer(WHERE, {}, "keep", "restart")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it must have the key disk, as in `disk: any`"),
        ("data: keep", "disk is `any`, or some of serial, model, bus, size, path with their values"),
        ("disk: /dev/sda", "disk is `any`, or some of serial, model, bus, size, path with their values"),
        ("disk: {}", "disk is `any`, or some of serial, model, bus, size, path with their values"),
        ("disk: {serial: }", "disk: serial has no value"),
        ("disk: {name: sda}", "disk: there is no key name; there are serial, model, bus, size, path"),
        ("disk: {size: 100}", 'disk: size is such as ">=100G", not 100'),
        ("disk: any\nwipe: yes", "there is no key wipe; there are disk, data, then"),
        ("disk: any\ndata: wipe", "data is keep or erase"),
        ("disk: any\nthen: halt", "then is restart or poweroff"),
    ],
)
def test_what_is_wrong_is_said(text: str, complaint: str) -> None:
    with pytest.raises(InstallError) as error:
        parse(text, WHERE)
    assert str(error.value) == f"{WHERE}: {complaint}"


def test_what_is_no_yaml() -> None:
    with pytest.raises(InstallError, match=r"^install.yaml: this is not YAML: "):
        parse("disk: [", WHERE)


@pytest.mark.parametrize(
    ("selectors", "name"),
    [
        ("{serial: 0123}", "sda"),
        ("{serial: wd-124}", "sdb"),
        ("{model: samsung*}", "nvme0n1"),
        ("{bus: nvme}", "nvme0n1"),
        ("{bus: sata, size: '>=1T'}", "sdb"),
        ("{bus: sata, size: '< 500GiB'}", "sda"),
        ("{path: /dev/sda}", "sda"),
    ],
)
def test_the_one_that_matches(selectors: str, name: str) -> None:
    assert choose(parse(f"disk: {selectors}", WHERE), FOUR).name == name


def test_none_or_several_are_refused_with_the_list() -> None:
    with pytest.raises(InstallError) as error:
        choose(parse("disk: {bus: sata}", WHERE), FOUR)
    assert (
        str(error.value)
        == """\
By install.yaml, 2 disks match; it must be exactly one. Nothing was changed.
  sda: 500.1 GB, sata, WDC WD10EZEX, serial number 0123
    matches
  sdb: 4.0 TB, sata, WDC WD40, serial number WD-124
    matches
  nvme0n1: 500.1 GB, nvme, Samsung SSD 980, serial number S64D
    bus is not sata
  sdc: 500.1 GB, usb, Ultra, serial number 4C53
    not usable: removable"""
    )
    with pytest.raises(InstallError, match=r"By install\.yaml, no disk matches; it must be exactly one"):
        choose(parse("disk: {bus: nvme, serial: WD-124}", WHERE), FOUR)


def test_any_is_the_only_one_that_can_be_used() -> None:
    assert choose(parse("disk: any", WHERE), FOUR[2:]).name == "nvme0n1"
    with pytest.raises(InstallError, match="3 disks match"):
        choose(parse("disk: any", WHERE), FOUR)


def test_a_machine_without_disks() -> None:
    with pytest.raises(InstallError, match=r"no disk matches.*\n  This machine has no disk\.$"):
        choose(parse("disk: any", WHERE), [])


def test_what_is_nearest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    medium, credential = tmp_path / "medium", tmp_path / "credential"
    monkeypatch.setattr(answers, "MEDIUM", medium)
    monkeypatch.setattr(answers, "CREDENTIAL", credential)
    monkeypatch.setattr(answers, "VOLUME", tmp_path / "volume")
    assert answers.find() is None
    medium.write_text("disk: any")
    assert answers.find() == Answer("install.yaml on the installation medium", {}, "keep", "restart")
    credential.write_text("disk: any\nthen: poweroff")
    assert answers.find() == Answer("the credential collector.install", {}, "keep", "poweroff")
    assert answers.there() == {medium, credential}
