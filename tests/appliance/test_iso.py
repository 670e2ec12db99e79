"""The ISO installs a machine, unattended and by hand; what it has installed boots, and keeps its data."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lib.appliance import (
    NETWORKS,
    UPLINK,
    answer_arp,
    artefact,
    assert_blank,
    assert_forwards,
    assert_healthy,
    configure,
    mirrored,
)
from tests.lib.brought import drive, volume
from tests.lib.person import Person
from tests.lib.vm import USB, Machine, Vm

# Another appliance's disk comes first: its partitions have the same names.
BIOS = Machine(
    "BIOS, virtio",
    disk=("-drive", "file={disk},format={format},if=none,id=disk,cache=unsafe",
          "-device", "virtio-blk-pci,drive=disk,serial=D-1,bootindex=1,addr=0x10"),
)  # fmt: skip
SECURE = Machine(
    "UEFI with Secure Boot, NVMe",
    disk=("-drive", "file={disk},format={format},if=none,id=disk,cache=unsafe",
          "-device", "nvme,drive=disk,serial=N-1"),
    firmware="secure",
)  # fmt: skip


def blank_disk(folder: Path) -> Path:
    disk = folder / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "3G"], check=True)
    return disk


def with_cd(machine: Machine, iso: Path, *more: str) -> Machine:
    cd = ("-drive", f"file={iso},format=raw,if=none,id=cd,readonly=on,media=cdrom")
    return replace(machine, extra=(*cd, "-device", "ide-cd,drive=cd", *more))


def with_stick(machine: Machine, iso: Path) -> Machine:
    stick = ("-drive", f"file={iso},format=raw,if=none,id=stick,readonly=on")
    usb = ("-device", "usb-storage,drive=stick,removable=on,bootindex=0")
    return replace(machine, extra=(*USB, *stick, *usb))


def with_another(machine: Machine) -> Machine:
    other = ("-drive", f"file={artefact('raw')},format=raw,if=none,id=other,snapshot=on")
    return replace(machine, extra=(*other, "-device", "virtio-blk-pci,drive=other,addr=0x8"))


def with_answer(folder: Path, text: str) -> Path:
    """The ISO, as an administrator may change it."""
    (folder / "answer").write_text(text)
    changed = folder / "changed.iso"
    command: list[str | Path] = [
        "xorriso",
        "-indev",
        artefact("iso"),
        "-outdev",
        changed,
        "-boot_image",
        "any",
        "replay",
    ]
    subprocess.run([*command, "-map", folder / "answer", "/install.yaml"], check=True, capture_output=True)
    return changed


def identity(vm: Vm) -> str:
    return vm.succeed("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")


@pytest.mark.vm(starts=4)
def test_bios(folder: Path) -> None:
    """Unattended, by a volume; then by hand, over what was installed and configured, whose data stays."""
    disk = blank_disk(folder)
    answer = volume(folder / "answer", "COLLECTOR", {"install.yaml": "disk: any\nthen: poweroff\n"})
    with Vm(with_cd(BIOS, artefact("iso"), *drive(answer)), disk, folder / "install") as vm:
        vm.wait_for("Nobody is asked: there is install.yaml on the volume COLLECTOR")
        vm.wait_for("The collector is installed on vd")
        vm.wait_for_end()
    with Vm(with_another(BIOS), disk, folder / "blank", NETWORKS) as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert_blank(vm)
        assert_only_its_own_disk(vm)
        assert "All that was written was read back" in vm.succeed("cat /var/log/collector-install.log")
        configure(vm, "xdp")
        assert_forwards(vm, mirrored())
        first = identity(vm)
        vm.power_off()
    reinstall_by_hand(disk, folder)
    with Vm(BIOS, disk, folder / "again", NETWORKS) as vm:
        answer_arp(vm.nics[UPLINK])
        vm.wait_until('collector status --interval 0 --json | grep \'"hook": "xdp-native"\'')
        assert_forwards(vm, mirrored())
        assert_healthy(vm)
        assert identity(vm) == first
        assert "keep=True" in vm.succeed("cat /var/log/collector-install.log")


def assert_only_its_own_disk(vm: Vm) -> None:
    """Of two disks with the same names, it works on the one that it was started from."""
    assert vm.succeed("lsblk --noheadings --output SERIAL /dev/vdb") == "D-1"
    assert vm.succeed("findmnt --noheadings --output SOURCE /var") == "/dev/vdb6"
    found = vm.succeed("readlink --canonicalize /dev/disk/by-partlabel/collector-*").split()
    assert found == [f"/dev/vdb{number}" for number in (4, 5, 1, 6, 3, 2)]
    ids = vm.succeed("lsblk --noheadings --output PARTUUID /dev/vda /dev/vdb").split()
    assert (len(ids), len(set(ids))) == (12, 12)


def reinstall_by_hand(disk: Path, folder: Path) -> None:
    """From a stick, over the serial port. An answer file that means no disk changes nothing."""
    wrong = {"collector.install": "disk: {serial: D-2}\n"}
    with Vm(with_stick(BIOS, artefact("iso")), disk, folder / "by-hand", wrong) as vm:
        person = Person(vm)
        person.expect("The installation has FAILED.")
        refused = person.answer("off: switch off.\n> ")
        assert "By the credential collector.install, no disk matches; it must be exactly one." in refused
        assert "serial number D-1\n    serial is not D-2" in refused
        asked = person.expect("Install on which disk?")
        assert re.search(
            r"    1  vda +3\.2 GB  virtio .*\n.*D-1\n       holds a collector and its data", asked
        )
        assert re.search(r"    -  sda +0\.2 GB  usb .*\n(.*\n)?       not usable: the medium", asked)
        assert_nothing_else_runs(vm)
        person.type("1\r")
        person.answer("Keep it? yes or no [yes]: ")
        person.answer("Type install to go on; anything else goes back: ", "erase")
        person.expect("Nothing was changed.")
        person.answer("or Enter to look again: ", "1")
        person.answer("Keep it? yes or no [yes]: ")
        person.answer("Type install to go on; anything else goes back: ", "install")
        person.answer("Remove the installation medium; then Enter starts the machine anew. > ")
        vm.wait_for_end()


def assert_nothing_else_runs(vm: Vm) -> None:
    """No collector, no login, no data partition; the screen shows what the serial port shows."""
    units = (
        "collector.service ssh.service systemd-networkd.service getty@tty1.service serial-getty@ttyS0.service"
    )
    assert set(vm.execute(f"systemctl is-active {units}")[1].split()) == {"inactive"}
    assert vm.execute("findmnt --source /dev/vda6") == (1, "")
    assert vm.succeed("systemctl list-units --failed --plain --no-legend") == ""
    vm.wait_until("grep --quiet 'Install on which disk' /dev/vcs1")


@pytest.mark.vm(starts=2)
def test_secure_boot(folder: Path) -> None:
    """Unattended, by a file that was added to the ISO."""
    disk = blank_disk(folder)
    iso = with_answer(folder, 'disk: {bus: nvme, size: ">=3G", serial: N-1}\nthen: restart\n')
    with Vm(with_cd(SECURE, iso), disk, folder / "install") as vm:
        vm.wait_for("Nobody is asked: there is install.yaml on the installation medium")
        vm.wait_for("The collector is installed on nvme0n1")
        vm.wait_for_end()
    with Vm(SECURE, disk, folder / "vm", NETWORKS) as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert_blank(vm)
        assert "[integrity]" in vm.succeed("cat /sys/kernel/security/lockdown")
        configure(vm, "tc")
        assert_forwards(vm, mirrored())


def xorriso(*words: str | Path) -> str:
    command: Sequence[str | Path] = ["xorriso", "-indev", artefact("iso"), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_what_a_firmware_finds() -> None:
    """As a CD, BIOS and UEFI each find theirs; on a stick, a boot sector and an EFI partition."""
    torito = xorriso("-report_el_torito", "plain")
    assert re.findall(r"^El Torito boot img : +\d+ +(\w+) ", torito, re.MULTILINE) == ["BIOS", "UEFI"]
    table = subprocess.run(["sfdisk", "--dump", artefact("iso")], check=True, capture_output=True, text=True)
    assert re.findall(r"type=(\w+)", table.stdout) == ["cd", "ef"]
    with artefact("iso").open("rb") as file:
        assert file.read(512)[-2:] == b"\x55\xaa"


def test_its_root_image_is_the_one_that_all_have(folder: Path) -> None:
    xorriso("-osirrox", "on", "-extract", "/collector/root.squashfs", folder / "root")
    assert (folder / "root").read_bytes() == artefact("squashfs").read_bytes()
