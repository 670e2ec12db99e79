"""Each artefact of `make image` boots on the machines that it is for, and does its work there."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
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
    disk_on,
    mirrored,
    partition,
    qemu_io,
    seconds_to_forwarding,
)
from tests.lib.vm import Machine, Vm

BIOS = Machine("BIOS, virtio")
UNPLUGGED = Machine("BIOS, without a serial port", serial=False)
SECURE = Machine(
    "UEFI with Secure Boot, NVMe",
    disk=("-drive", "file={disk},format={format},if=none,id=disk", "-device", "nvme,drive=disk,serial=1"),
    firmware="secure",
)
HYPERV = Machine(
    "the VHDX, UEFI, SATA",
    disk=(
        "-drive",
        "file={disk},format={format},if=none,id=disk,snapshot=on",
        "-device",
        "ide-hd,drive=disk",
    ),
    firmware="secure",
    nic="e1000e",
)
# By BIOS: Debian's UEFI for QEMU knows no PVSCSI; VMware's own does.
VMWARE = Machine(
    "the OVA's disk, BIOS, PVSCSI, VMXNET3",
    disk=("-drive", "file={disk},format={format},if=none,id=disk",
          "-device", "pvscsi", "-device", "scsi-hd,drive=disk"),
    nic="vmxnet3",
)  # fmt: skip


def identity(vm: Vm) -> str:
    return vm.succeed("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")


def data_size(vm: Vm) -> int:
    return int(vm.succeed("df --block-size=1M --output=size /var | tail -1"))


@pytest.mark.vm(starts=2)
def test_bios(folder: Path) -> None:
    """Blank, then configured, and without a serial port. What it is and what it was told stays; it grows with
    its disk, twice."""
    disk = disk_on(artefact("raw"), folder, "2G")
    with Vm(BIOS, disk, folder / "blank", NETWORKS) as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert_blank(vm)
        first, small = identity(vm), data_size(vm)
        configure(vm, "xdp")
        assert_forwards(vm, mirrored())
        configure(vm, "tc")
        assert_forwards(vm, mirrored())
        vm.power_off()
    subprocess.run(["qemu-img", "resize", "-q", disk, "3G"], check=True)
    with Vm(UNPLUGGED, disk, folder / "configured", NETWORKS) as vm:
        answer_arp(vm.nics[UPLINK])
        seconds = seconds_to_forwarding(vm)
        print(f"{UNPLUGGED.name}: frames go out {seconds:.0f} s after power on")
        assert_healthy(vm)
        assert identity(vm) == first
        assert 800 < small < 1000
        assert 1024 - 50 < data_size(vm) - small <= 1024


@pytest.mark.vm(starts=1)
@pytest.mark.parametrize(
    "machine",
    [SECURE, HYPERV, pytest.param(VMWARE, marks=pytest.mark.long)],
    ids=lambda machine: machine.name,
)
def test_other_machines(machine: Machine, folder: Path) -> None:
    disk = unpacked(machine, folder)
    with Vm(machine, disk, folder / "vm", NETWORKS) as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert_blank(vm)
        lockdown = vm.succeed("cat /sys/kernel/security/lockdown")
        assert ("[integrity]" in lockdown) == (machine.firmware == "secure")
        configure(vm, "tc")
        assert_forwards(vm, mirrored())


def unpacked(machine: Machine, folder: Path) -> Path:
    if machine is HYPERV:
        with zipfile.ZipFile(artefact("vhdx.zip")) as packed:
            return Path(packed.extract(packed.namelist()[0], folder))
    if machine is VMWARE:
        with tarfile.open(artefact("ova")) as packed_tar:
            (name,) = (name for name in packed_tar.getnames() if name.endswith(".vmdk"))
            packed_tar.extract(name, folder, filter="data")
        return disk_on(folder / name, folder)
    return disk_on(artefact("qcow2"), folder)


@pytest.mark.vm(starts=1)
def test_damaged_data(folder: Path) -> None:
    """It boots without, forwards what it is told, says so, and leaves the partition as it is."""
    raw = artefact("raw")
    disk = disk_on(raw, folder, "2G")
    start, size = partition(raw, "collector-data")
    qemu_io(disk, f"write -P 0xd5 {start} {size}")
    with Vm(BIOS, disk, folder / "vm", NETWORKS) as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert "DEGRADED" in vm.wait_until("cat /run/issue.d/appliance.issue")
        assert vm.succeed("findmnt --noheadings --output FSTYPE /var") == "tmpfs"
        configure(vm, "xdp")
        assert_forwards(vm, mirrored())
        vm.power_off()
    qemu_io(disk, f"read -P 0xd5 {start} {size}")
