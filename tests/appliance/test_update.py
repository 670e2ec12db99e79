"""Updates: there and back, and back by itself when the new version is not well."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.lib import ranges
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
    partition,
    qemu_io,
)
from tests.lib.bundles import STRANGER, Workshop, put
from tests.lib.vm import Machine, Vm

STICK = "/run/stick"
GOOD, BROKEN = "9.1.0", "9.2.0"
CHOICE = "/usr/lib/appliance/boot-choice"
# What says that the time for an update to be found good is over.
OVER = "/run/systemd/system/appliance-back.timer.d"


def patience(seconds: int) -> dict[str, str]:
    """How long an update may take to be found good: less than ten minutes, or more on a busy machine."""
    return {"systemd.unit-dropin.appliance-back.timer": f"[Timer]\nOnBootSec=\nOnBootSec={seconds}\n"}


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with TemporaryDirectory(prefix="collector-test-", dir="/var/tmp") as name:
        yield Workshop(Path(name))


class Appliance:
    """One disk, and its starts one after the other: QEMU ends at a restart."""

    def __init__(self, folder: Path, stick: Path) -> None:
        self._folder = folder
        drive = ("-drive", f"file={stick},format=raw,if=virtio,readonly=on")
        self._machine = Machine("the updated machine", extra=drive)
        self.disk = disk_on(artefact("raw"), folder, "4G")
        self._starts = 0

    def start(self, credentials: dict[str, str] | None = None) -> Vm:
        self._starts += 1
        machine = dataclasses.replace(self._machine, name=f"{self._machine.name}, start {self._starts}")
        folder = self._folder / f"start{self._starts}"
        return Vm(machine, self.disk, folder, NETWORKS | (credentials or {}))


def put_in_stick(vm: Vm) -> None:
    vm.succeed(f"mkdir {STICK} && mount -o ro /dev/vdb {STICK}")


def await_good(vm: Vm, slot: str) -> None:
    vm.wait_until(f"grep --quiet ^{slot}_TRY=0 /boot/env/grubenv")


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
    """A kernel that starts and finds nothing to go on with. Without the rest, so that it is quickly there."""
    put(root / "boot/initrd", b"")
    for each in root.iterdir():
        if each.is_dir() and not each.is_symlink() and each.name != "boot":
            shutil.rmtree(each)
    put(root / "usr/lib/os-release", f"IMAGE_VERSION={BROKEN}\n".encode())


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


@pytest.mark.vm(starts=4)
def test_an_update_and_power_cuts(workshop: Workshop, folder: Path) -> None:
    """Power fails while the slot is written, and while the choice is; GRUB's block gets lost. Then the new
    version runs, with everything that was there."""
    first = built_version()
    make_refused(workshop)
    workshop.bundle("good", GOOD, workshop.image(GOOD, lambda _root: None))
    appliance = Appliance(folder, workshop.stick_image())

    with appliance.start() as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        configure(vm, "tc")
        put_in_stick(vm)
        await_good(vm, "A")
        stays = what_stays(vm)
        assert_refuses(vm)
        vm.succeed(f"sync && systemd-run --quiet collector update {STICK}/good.raucb")
        vm.wait_until("[ $(awk '$3 == \"vda5\" {print $10}' /proc/diskstats) -gt 100000 ]")
        assert vm.succeed(f"{CHOICE} get B_OK") == "0"

    with appliance.start() as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert slots(vm) == (first, "empty", "A")
        assert update_status(vm)["fallback"] == ""
        put_in_stick(vm)
        said = vm.succeed(f"collector update {STICK}/good.raucb")
        assert said.endswith(f"Version {GOOD} is installed. Restart to start it: sudo systemctl reboot")
        assert slots(vm) == (first, f"{GOOD} new", "B")
        there_and_back = (
            f"while :; do {CHOICE} set-primary A; {CHOICE} set-primary B; echo >> /run/turns; done"
        )
        vm.succeed(f"systemd-run --quiet sh -c '{there_and_back}'")
        vm.wait_until("[ $(wc -l < /run/turns) -gt 20 ]")

    with appliance.start(patience(3600)) as vm:
        vm.wait_until("mountpoint --quiet /boot/env")
        found = update_status(vm)
        assert (found["running"]["name"], found["fallback"]) == (found["chosen"], "")
        vm.succeed(f"{CHOICE} set-primary B")
        vm.succeed("dd if=/dev/zero of=/boot/env/grubenv bs=512 count=1 conv=notrunc,fsync")

    with appliance.start(patience(3600)) as vm:
        vm.wait_for("Slot B")
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert "appliance.trial" in vm.succeed("cat /proc/cmdline")
        assert "errors=panic" in vm.succeed("findmnt --noheadings --output OPTIONS /")
        await_good(vm, "B")
        assert slots(vm) == (GOOD, f"{first} good", "B")
        assert what_stays(vm) == stays
        assert_forwards(vm, mirrored())
        assert vm.succeed("systemctl is-active appliance-back.timer || true") == "inactive"


@pytest.mark.vm(starts=9)
def test_three_new_versions_that_are_not_well(workshop: Workshop, folder: Path) -> None:
    """One that does not boot, one whose service fails, one with a damaged block: each goes back by itself."""
    place = make_unwell(workshop)
    appliance = Appliance(folder, workshop.stick_image())
    with appliance.start() as vm:
        answer_arp(vm.nics[UPLINK])
        await_good(vm, "A")
        configure(vm, "tc")
        put_in_stick(vm)
        vm.succeed(f"systemd-run --quiet python3 {STICK}/ranges.py {STICK} 8000")
        vm.wait_until("(echo > /dev/tcp/127.0.0.1/8000)")
        vm.leave("collector update http://127.0.0.1:8000/broken.raucb --reboot")
    for _ in range(3):
        with appliance.start() as vm:
            vm.wait_for("Slot B")
            vm.wait_for_end()
    with appliance.start() as vm:
        assert_went_back(vm, f"{BROKEN} failed", "the new version did not start")
        said = vm.succeed("collector update rollback")
        assert said == f"It stays with version {built_version()}, which runs."
        assert slots(vm) == (built_version(), f"{BROKEN} failed", "A")
        assert vm.succeed("collector metrics | grep ^collector_update") == "collector_update_fallback 0.0"
        update_to(vm, "service", tried=2)

    with appliance.start(patience(3600)) as vm:
        vm.wait_for("Slot B")
        answer_arp(vm.nics[UPLINK])
        vm.wait_until("grep --quiet 'has failed' /var/lib/appliance/trial")
        vm.succeed(f"mkdir -p {OVER} && printf '[Timer]\\nOnBootSec=\\nOnBootSec=1\\n' > {OVER}/zz.conf")
        vm.leave("systemctl daemon-reload && systemctl restart appliance-back.timer")
    with appliance.start() as vm:
        why = f"version {BROKEN}: ssh.service does not run; ssh.service has failed"
        assert_went_back(vm, f"{BROKEN} failed", why)
        update_to(vm, "unread")

    start, _ = partition(artefact("raw"), "collector-b")
    qemu_io(appliance.disk, f"write -P 0xd5 {start + place} 512")
    with appliance.start() as vm:
        vm.wait_for("Slot B")
        vm.wait_for_end()
    with appliance.start() as vm:
        vm.wait_for("Slot A")
        assert_went_back(vm, " empty", f"version {GOOD}: its slot is damaged")


def make_unwell(workshop: Workshop) -> int:
    """Their bundles. Returns where in the slot of the last one something lies that nothing reads."""
    workshop.bundle("broken", BROKEN, workshop.image(BROKEN, does_not_boot))
    workshop.bundle("service", BROKEN, workshop.image(BROKEN, ssh_fails))
    unread = os.urandom(1024 * 1024)  # nothing makes it smaller, so it lies there as it is
    image = workshop.image(GOOD, lambda root: put(root / "usr/share/unread", unread))
    place = image.read_bytes().index(unread[:64])
    workshop.bundle("unread", GOOD, image)
    shutil.copy(ranges.__file__, workshop.stick)
    return place


def ssh_fails(root: Path) -> None:
    put(root / "usr/lib/systemd/system/ssh.service.d/broken.conf", b"[Service]\nExecStartPre=false\n")


def assert_went_back(vm: Vm, other: str, why: str) -> None:
    version = built_version()
    answer_arp(vm.nics[UPLINK])
    assert_healthy(vm)
    words = f"this machine went back to version {version} by itself: {why}"
    assert vm.wait_until("cat /run/appliance/fallback") == words
    found = update_status(vm)
    assert (found["running"]["version"], found["fallback"]) == (version, words)
    assert f"{found['other']['version']} {found['other']['state']}" == other
    assert vm.execute("collector update status")[0] == 1
    assert f" * {words}" in vm.succeed("collector status --interval 0 | tr -s '\\n ' ' '")
    assert vm.succeed("collector metrics | grep ^collector_update") == "collector_update_fallback 1.0"
    vm.wait_until("grep 'UPDATE  *failed; see: sudo collector update status' /run/issue.d/appliance.issue")
    assert_forwards(vm, mirrored())


def update_to(vm: Vm, bundle: str, tried: int = 0) -> None:
    """Installs it and restarts. `tried`: how often it was started in vain by then."""
    await_good(vm, "A")
    put_in_stick(vm)
    vm.succeed(f"collector update {STICK}/{bundle}.raucb")
    vm.succeed(f"cd /boot/env && sed s/^B_TRY=.$/B_TRY={tried}/ grubenv | dd of=grubenv conv=notrunc,fsync")
    vm.leave("systemctl reboot")
