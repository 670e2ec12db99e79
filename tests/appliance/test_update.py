"""Updates: there and back, and back by itself when the new version is not well."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace as changed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.lib.appliance import (
    FILE,
    NETWORKS,
    UPLINK,
    answer_arp,
    artefact,
    assert_forwards,
    assert_healthy,
    configure,
    disk_on,
    mirrored,
)
from tests.lib.bundles import STRANGER, Workshop
from tests.lib.vm import Machine, Vm

STICK = "/run/stick"
GOOD, BROKEN = "9.1.0", "9.2.0"


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with TemporaryDirectory(prefix="collector-test-", dir="/var/tmp") as name:
        yield Workshop(Path(name))


class Appliance:
    """One disk, and its starts one after the other: QEMU ends at a restart."""

    def __init__(self, folder: Path, stick: Path) -> None:
        self._folder = folder
        self._machine = Machine("the updated machine",
                                extra=("-drive", f"file={stick},format=raw,if=virtio,readonly=on"))  # fmt: skip
        self.disk = disk_on(artefact("raw"), folder, "4G")
        self._starts = 0

    def start(self, credentials: dict[str, str] | None = None) -> Vm:
        self._starts += 1
        machine = changed(self._machine, name=f"{self._machine.name}, start {self._starts}")
        folder = self._folder / f"start{self._starts}"
        return Vm(machine, self.disk, folder, NETWORKS | (credentials or {}))


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="collector-test-", dir="/var/tmp") as name:
        yield Path(name)


def put_in_stick(vm: Vm) -> None:
    vm.succeed(f"mkdir {STICK} && mount -o ro /dev/vdb {STICK}")


def await_good(vm: Vm, slot: str) -> None:
    vm.wait_until(f'[ "$(/usr/lib/appliance/boot-choice get {slot}_TRY)" = 0 ]')


def update_status(vm: Vm) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(vm.execute("collector update status --json")[1])
    return found


def slots(vm: Vm) -> tuple[str, str, str]:
    """The running version, the other one with its state, and which slot is chosen."""
    found = update_status(vm)
    other = found["other"]
    return found["running"]["version"], f"{other['version']} {other['state']}".strip(), found["chosen"]


def what_stays(vm: Vm) -> str:
    return vm.succeed(f"cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub {FILE}")


def built_version() -> str:
    found = re.fullmatch(r"collector-(.*)\.squashfs", artefact("squashfs").name)
    assert found
    return found[1]


def does_not_boot(root: Path) -> None:
    """A kernel that starts and finds nothing to go on with."""
    (root / "boot/initrd").unlink()
    (root / "boot/initrd").write_bytes(b"")


REFUSED = {
    "stranger": "is not signed by the makers of the version that runs here",
    "other": "is for another product: for toaster-amd64, and this is collector-amd64",
    "old": "is version 0.0.9, and what runs here can only be replaced by 0.1.0 or newer",
    "torn": "is no update bundle, or a part of it is missing",
}


def assert_refuses(vm: Vm) -> None:
    for bundle, why in REFUSED.items():
        file = f"{STICK}/{bundle}.raucb"
        code, said = vm.execute(f"collector update {file}")
        assert f"collector: {file} {why}. What runs is unchanged." in said.splitlines(), said
        assert code == 2
    assert slots(vm) == (built_version(), "empty", "A")


def make_refused(workshop: Workshop) -> None:
    workshop.make_stranger()
    workshop.bundle("stranger", GOOD, workshop.small_image(), signed_by=STRANGER)
    workshop.bundle("other", GOOD, workshop.small_image(), product="toaster-amd64")
    workshop.bundle("old", "0.0.9", workshop.small_image())
    whole = (workshop.stick / "old.raucb").read_bytes()
    (workshop.stick / "torn.raucb").write_bytes(whole[:-100])


def test_there_and_back(workshop: Workshop, folder: Path) -> None:
    """Everything stays over an update; one that does not boot goes back by itself, and says so."""
    first = built_version()
    make_refused(workshop)
    workshop.bundle("good", GOOD, workshop.image(GOOD, lambda _root: None))
    workshop.bundle("broken", BROKEN, workshop.image(BROKEN, does_not_boot))
    appliance = Appliance(folder, workshop.stick_image())

    with appliance.start() as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        configure(vm, "tc")
        put_in_stick(vm)
        await_good(vm, "A")
        stays = what_stays(vm)
        assert_refuses(vm)
        said = vm.succeed(f"collector update {STICK}/good.raucb")
        assert said.endswith(f"Version {GOOD} is installed. Restart to start it: sudo systemctl reboot")
        assert slots(vm) == (first, f"{GOOD} new", "B")
        vm.succeed("systemctl reboot")
        vm.wait_for_end()

    with appliance.start() as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert "appliance.trial" in vm.succeed("cat /proc/cmdline")
        await_good(vm, "B")
        assert slots(vm) == (GOOD, f"{first} good", "B")
        assert what_stays(vm) == stays
        assert_forwards(vm, mirrored())
        assert vm.succeed("systemctl is-active appliance-back.timer || true") == "inactive"
        put_in_stick(vm)
        vm.succeed(f"collector update {STICK}/broken.raucb --reboot")
        vm.wait_for_end()

    for _ in range(3):
        with appliance.start() as vm:
            vm.wait_for("^Slot A")
            vm.wait_for_end()

    with appliance.start() as vm:
        answer_arp(vm.nics[UPLINK])
        assert_went_back(vm, GOOD, f"{BROKEN} failed", "the new version did not start")
        assert_forwards(vm, mirrored())
        said = vm.succeed("collector update rollback")
        assert said == f"It stays with version {GOOD}, which runs."
        assert slots(vm) == (GOOD, f"{BROKEN} failed", "B")
        assert vm.succeed("collector metrics | grep ^collector_update") == "collector_update_fallback 0.0"


def assert_went_back(vm: Vm, version: str, other: str, why: str) -> None:
    assert_healthy(vm)
    words = f"this machine went back to version {version} by itself: {why}"
    assert vm.wait_until("cat /run/appliance/fallback") == words
    found = update_status(vm)
    assert (found["running"]["version"], found["fallback"]) == (version, words)
    assert f"{found['other']['version']} {found['other']['state']}" == other
    assert vm.execute("collector update status")[0] == 1
    assert f"  * {words}" in vm.succeed("collector status --interval 0 | tr -s '\\n ' ' '")
    assert vm.succeed("collector metrics | grep ^collector_update") == "collector_update_fallback 1.0"
    vm.wait_until("grep 'UPDATE  *failed; see: sudo collector update status' /run/issue.d/appliance.issue")
