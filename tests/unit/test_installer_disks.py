"""Which disks the installer takes, what it says of the others, and what it finds on one."""

from __future__ import annotations

from typing import Any

import pytest

from iso.installer.disks import Disk, row
from iso.installer.layout import Partition
from tests.lib.installer import LAYOUT, device, disks, partitions

MIB = 1 << 20


def one(*devices: dict[str, Any]) -> Disk:
    (found,) = disks(*devices)
    return found


def test_the_layout_is_the_build_s() -> None:
    assert LAYOUT.partitions == (
        Partition(1, "collector-bios", 1 * MIB), Partition(2, "collector-esp", 64 * MIB),
        Partition(3, "collector-env", 8 * MIB), Partition(4, "collector-a", 512 * MIB),
        Partition(5, "collector-b", 512 * MIB), Partition(6, "collector-data", 256 * MIB),
    )  # fmt: skip
    assert LAYOUT.needed == 1355 * MIB


def test_a_disk_that_can_be_used() -> None:
    found = one(device("nvme0n1", model="Samsung SSD 980 500GB  ", serial="S64D", tran="nvme"))
    assert found == Disk("/dev/nvme0n1", "Samsung SSD 980 500GB", "S64D", 500_107_862_016, "nvme")
    assert list(row(found, "1")) == [
        "    1  nvme0n1    500.1 GB  nvme    Samsung SSD 980 500GB", "       serial number S64D"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "tran", "bus"),
    [
        ("sda", "sata", "sata"), ("sda", "ata", "sata"), ("sda", "usb", "usb"), ("sda", "sas", "sas"),
        ("sda", None, "scsi"), ("vda", None, "virtio"), ("vda", "virtio", "virtio"), ("mmcblk0", None, "mmc"),
        ("xvda", None, "xen"), ("nvme0n1", None, "nvme"),
    ],
)  # fmt: skip
def test_the_bus(name: str, tran: str | None, bus: str) -> None:
    assert one(device(name, tran=tran)).bus == bus


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"label": "COLLECTOR_ISO", "rm": True}, "the medium that this installation came from"),
        ({"children": [device("sda1", type="part", label="COLLECTOR")]},
         "holds the volume COLLECTOR, which tells this machine what to do"),
        ({"children": [device("sda1", type="part", label="Ventoy")]},
         "a Ventoy stick, perhaps the one that this installation came from"),
        ({"rm": True}, "removable"),
        ({"ro": True}, "read-only: look for a switch on it"),
        ({"size": 1_073_741_824}, "too small: 1.4 GB are needed"),
        ({"log_sec": 4096}, "has sectors of 4096 bytes: only 512 are supported"),
        ({"fstype": "isw_raid_member"},
         "part of a RAID of the mainboard (Intel): take it out of that first"),
        ({"children": [device("sda1", type="part", fstype="linux_raid_member")]},
         "part of a Linux RAID: take it out of that first"),
        ({"children": [device("sda1", type="part", children=[device("md0", type="raid1")])]},
         "in use: /dev/md0 is made of it (raid1)"),
        ({"children": [device("mpatha", type="mpath")]}, "in use: /dev/mpatha is made of it (mpath)"),
        ({"children": [device("sda1", type="part", mountpoints=["/mnt"])]}, "in use: /dev/sda1 is mounted"),
    ],
)  # fmt: skip
def test_why_one_is_excluded(found: dict[str, Any], why: str) -> None:
    disk = one(device("sda", **found))
    assert disk.obstacle == why
    assert list(row(disk, "-"))[-1] == f"       not usable: {why}"


def test_a_disk_that_is_reached_by_two_ways() -> None:
    found = disks(device("sda", wwn="0x5000"), device("sdb", wwn="0x5000"), device("sdc", wwn="0x5001"))
    why = "reached by several ways at once (multipath): leave one connected"
    assert [disk.obstacle for disk in found] == [why, why, ""]


def test_what_is_no_disk_is_not_listed() -> None:
    found = disks(
        device("loop0", type="loop"), device("sr0", type="rom"), device("zram0", size=0), device("sda"),
        device("mmcblk0"), device("mmcblk0boot0"),
    )  # fmt: skip
    assert [disk.name for disk in found] == ["sda", "mmcblk0"]


def test_data_of_an_earlier_installation() -> None:
    found = one(device("sda", children=partitions("sda")))
    assert (found.has_data, found.unlike, found.obstacle) == (True, "", "")
    assert list(row(found, "1"))[-1] == "       holds a collector and its data"


def test_data_that_cannot_stay_where_it_is() -> None:
    without, small, moved = partitions("sda"), partitions("sda"), partitions("sda")
    del without[4]
    small[3] = small[3] | {"size": 256 * MIB}
    moved[0] = moved[0] | {"start": 34}
    assert [one(device("sda", children=each)).unlike for each in (without, small, moved)] == [
        "partition 5 is not collector-b",
        "partition collector-a is smaller than this version needs",
        "its first partition lies elsewhere",
    ]


def test_another_system_s_disk_has_no_data_of_ours() -> None:
    found = one(device("sda", children=[device("sda1", type="part", partlabel="var", partn=1)]))
    assert (found.has_data, found.unlike) == (False, "")
