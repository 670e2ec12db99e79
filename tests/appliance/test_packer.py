"""Packer makes a machine of the ISO, which installs itself unattended, and that machine is the appliance."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.appliance import DIST, NETWORKS, artefact, assert_blank, assert_healthy, disk_on
from tests.lib.packer import Packer
from tests.lib.vm import Machine, Vm

pytestmark = [pytest.mark.vm(starts=2), pytest.mark.long]

SECONDS = 1500  # at most: it takes two to three minutes where nothing else is done


def test_the_machine_for_kvm(folder: Path) -> None:
    packer = Packer(folder, DIST)
    version = artefact("iso").stem.removeprefix("collector-")
    given = {"accelerator": "tcg", "version": version, "output": folder / "made"}
    code, said = packer.execute(
        "build", "-only=qemu.*", *(f"-var={name}={value}" for name, value in given.items()), "packer",
        seconds=SECONDS,
    )  # fmt: skip
    log = folder / "made/qemu.log"
    assert code == 0, said + (log.read_text(errors="replace") if log.exists() else "")
    disk = disk_on(folder / f"made/qemu/collector-{version}.qcow2", folder)
    with Vm(Machine("made by Packer"), disk, folder / "vm", NETWORKS) as vm:
        assert_healthy(vm)
        assert_blank(vm)
