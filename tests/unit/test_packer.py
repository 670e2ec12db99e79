"""Packer takes what packer/ says, and the disk of the AMI is written to the right volume."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from deploy.aws import ami
from iso.installer.answers import FILE, VOLUME, Answer, parse
from tests.lib.packer import SOURCES, Packer

VERSION = "9.9.9"
TEMPLATE = (SOURCES / "collector.pkr.hcl").read_text()
# What Debian 12's Packer does not know yet.
NEWER = re.compile(
    r"^  (boot_mode|imds_support) [^\n]*\n|^  metadata_options \{.*?^  \}\n", re.MULTILINE | re.DOTALL
)


@pytest.fixture
def packer(tmp_path: Path) -> Packer:
    packer = Packer(tmp_path)
    iso = packer.dist / f"collector-{VERSION}.iso"
    iso.touch()
    (packer.dist / f"collector-{VERSION}.raw").touch()
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (packer.dist / "SHA256SUMS").write_text(f"{empty}  {iso.name}\n")
    return packer


def validate(packer: Packer, source: str) -> tuple[int, str]:
    return packer.execute("validate", f"-only={source}.*", f"-var=version={VERSION}", "packer")


def test_the_files_are_formatted(packer: Packer) -> None:
    for folder in ("packer", "packer/plugins"):
        assert packer.execute("fmt", "-check", "-diff", folder) == (0, "")


@pytest.mark.parametrize("source", ["qemu", "hyperv-iso"])
def test_a_machine_from_the_iso(packer: Packer, source: str) -> None:
    assert validate(packer, source) == (0, "")


def test_the_ami(packer: Packer) -> None:
    """As far as the Packer at hand knows what is asked for."""
    code, said = validate(packer, "amazon-ebssurrogate")
    unknown = re.findall(r'(?:argument named|Blocks of type) "(\w+)"', said)
    if unknown:
        assert (code, sorted(unknown)) == (1, ["boot_mode", "imds_support", "metadata_options"])
        (packer.sources / "collector.pkr.hcl").write_text(NEWER.sub("", TEMPLATE))
        code, said = validate(packer, "amazon-ebssurrogate")
    assert (code, said) == (0, "")


def test_without_an_iso_it_says_what_is_missing(packer: Packer) -> None:
    (packer.dist / "SHA256SUMS").unlink()
    code, said = validate(packer, "qemu")
    assert code == 1
    assert "dist/SHA256SUMS: no such file or directory" in said


def test_the_version_must_be_given(packer: Packer) -> None:
    code, said = packer.execute("validate", "packer")
    assert code == 1
    assert 'variable "version"' in said or "Unset variable" in said


def test_every_variable_says_what_it_is() -> None:
    text = (SOURCES / "variables.pkr.hcl").read_text()
    blocks = dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL))
    assert [
        name for name, block in blocks.items() if not re.search(r'\n  description = ".+\."\n', block)
    ] == []
    assert blocks.keys() == set(re.findall(r"\bvar\.(\w+)", TEMPLATE))


def test_every_source_has_its_plugin() -> None:
    plugins = (SOURCES / "plugins/plugins.pkr.hcl").read_text()
    sources = re.findall(r'^source "(\w+)', TEMPLATE, re.MULTILINE)
    assert sources == ["qemu", "hyperv", "amazon"]
    for each in sources:
        assert f'"github.com/hashicorp/{each}"' in plugins


def test_it_is_the_ami_that_is_made_without_an_instance_too() -> None:
    asked = dict(re.findall(r'^ +(\w+) += "?([^"\n]+?)"?$', TEMPLATE, re.MULTILINE))
    registered = ami.registration("collector", "snap-1")
    assert (asked["boot_mode"], asked["imds_support"]) == (registered["BootMode"], registered["ImdsSupport"])
    assert (asked["ena_support"] == "true") is registered["EnaSupport"]
    (mapping,) = registered["BlockDeviceMappings"]
    assert re.findall(r'device_name += "(.*)"', TEMPLATE)[-1] == mapping["DeviceName"]
    assert asked["ami_virtualization_type"] == registered["VirtualizationType"]
    assert asked["ami_description"] == registered["Description"]


def test_the_installer_takes_the_answers() -> None:
    answer = parse((SOURCES / "install.yaml").read_text(), "Packer's CD")
    assert answer == Answer("Packer's CD", {}, data="erase", then="poweroff")
    assert (VOLUME.name, FILE) == (re.findall(r'cd_label += "(.*)"', TEMPLATE)[0], "install.yaml")


class Disks:
    """Files as disks, and an lsblk that tells of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.raw = folder / "collector.raw"
        self.raw.write_bytes(os.urandom(4096) + bytes(4096) + os.urandom(512))
        self.used = self._disk("used")
        answers = f'*--nodeps*) ls {folder}/*.disk ;; *used*) echo "gpt  /" ;; *) echo ;;'
        (folder / "lsblk").write_text(f'#!/bin/sh\ncase "$*" in {answers} esac\n')
        (folder / "lsblk").chmod(0o755)

    def _disk(self, name: str) -> Path:
        disk = self.folder / f"{name}.disk"
        disk.write_bytes(bytes(65536))
        return disk

    def add_empty(self, name: str) -> Path:
        return self._disk(name)

    def write(self) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", SOURCES / "write-disk.sh", self.raw],
            env={"PATH": f"{self.folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    return Disks(tmp_path)


def test_the_empty_disk_is_written(disks: Disks) -> None:
    empty = disks.add_empty("new")
    assert disks.write() == (0, f"Writing {disks.raw} to {empty}\n")
    raw = disks.raw.read_bytes()
    assert empty.read_bytes() == raw + bytes(65536 - len(raw))
    assert disks.used.read_bytes() == bytes(65536)


@pytest.mark.parametrize("names", [(), ("new", "other")])
def test_none_is_guessed(disks: Disks, names: tuple[str, ...]) -> None:
    empty = [disks.add_empty(name) for name in names]
    said = f"One empty disk is needed, to write the image to; this machine has {len(empty)}: "
    assert disks.write() == (1, said + " ".join(map(str, empty)) + "\n")
    for disk in (*empty, disks.used):
        assert disk.read_bytes() == bytes(65536)
