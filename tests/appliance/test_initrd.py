"""What finds the disk: read out of the image, as no machine here has most of these."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

# The promised disks, and what they hang on.
DRIVERS = {
    "KVM": {"virtio_pci", "virtio_blk", "virtio_scsi"},
    "NVMe": {"nvme"},
    "SATA": {"ahci", "ata_piix", "sd_mod"},
    "Hyper-V": {"hv_vmbus", "hv_storvsc", "pci-hyperv"},
    "VMware": {"vmw_pvscsi", "mptspi", "mptsas"},
    "Xen": {"xen-blkfront"},
    "RAID": {"megaraid_sas", "mpt3sas", "mpi3mr", "aacraid", "hpsa", "smartpqi", "arcmsr", "vmd"},
    "USB": {"usb-storage", "uas", "xhci-pci", "ehci-pci"},
    "the image itself": {"squashfs", "overlay", "ext4", "loop"},
}


@pytest.fixture(scope="module")
def initrd(root: Path) -> Iterator[Path]:
    with TemporaryDirectory(prefix="collector-test-", dir="/var/tmp") as folder:
        packed = subprocess.run(
            ["zstd", "--decompress", "--stdout", root / "boot/initrd"], check=True, capture_output=True
        )
        command = ["cpio", "--extract", "--make-directories", "--quiet"]
        subprocess.run(command, cwd=folder, check=True, input=packed.stdout)
        yield Path(folder)


@pytest.mark.parametrize("kind", DRIVERS)
def test_it_has_the_drivers_of_every_disk(initrd: Path, kind: str) -> None:
    (modules,) = (initrd / "usr/lib/modules").iterdir()
    found = {path.name.removesuffix(".ko") for path in modules.rglob("*.ko")}
    built_in = {Path(line).stem for line in (modules / "modules.builtin").read_text().splitlines()}
    assert DRIVERS[kind] - found - built_in == set()


def test_it_looks_at_every_device(initrd: Path) -> None:
    """ACPI's too, which bring the bus of Hyper-V; the real root leaves them for later."""
    units = initrd / "usr/lib/systemd/system"
    unit = (units / "systemd-udev-trigger.service").read_text()
    added = "".join(path.read_text() for path in units.glob("systemd-udev-trigger.service.d/*"))
    assert "-udevadm trigger --type=all --action=add" in added
    assert "match=" not in unit + added
