"""The disks of this machine: what each is, why one cannot be installed on, and what one holds."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iso.installer.layout import DATA, FIRST_SECTOR, Layout

COLUMNS = (
    "NAME,PATH,TYPE,SIZE,MODEL,SERIAL,WWN,TRAN,RO,RM,LOG-SEC,FSTYPE,LABEL,PARTLABEL,PARTN,START,MOUNTPOINTS"
)
STEADY, LONGEST = 4.0, 60.0  # seconds without a change, until all disks are taken to be there; and at most

_NO_DISKS = {"rom", "loop", "ram"}  # by kind: what nobody takes for one
_LABELS = {
    "COLLECTOR_ISO": "the medium that this installation came from",
    "COLLECTOR": "holds the volume COLLECTOR, which tells this machine what to do",
    "Ventoy": "a Ventoy stick, perhaps the one that this installation came from",
}
_BUSES = {"vd": "virtio", "nvme": "nvme", "mmcblk": "mmc", "xvd": "xen"}
_RAIDS = {
    "linux_raid_member": "a Linux RAID",
    "isw_raid_member": "a RAID of the mainboard (Intel)",
    "ddf_raid_member": "a RAID (DDF)",
    "promise_fasttrack_raid_member": "a RAID of the mainboard (Promise)",
    "zfs_member": "a ZFS pool",
    "mpath_member": "a multipath disk",
}


@dataclass(frozen=True)
class Disk:
    path: str
    model: str
    serial: str
    size: int
    bus: str
    obstacle: str = ""  # why it cannot be installed on
    has_data: bool = False  # an earlier installation's
    unlike: str = ""  # why that data cannot stay where it is

    @property
    def name(self) -> str:
        return self.path.removeprefix("/dev/")


def settled(layout: Layout) -> list[Disk]:
    """When none has come or gone for some seconds: adapters with many disks find them one by one."""
    end = time.monotonic() + LONGEST
    since, found = time.monotonic(), listed(layout)
    while time.monotonic() < min(end, since + STEADY):
        time.sleep(0.5)
        now = listed(layout)
        if now != found:
            since, found = time.monotonic(), now
    return found


def listed(layout: Layout) -> list[Disk]:
    subprocess.run(["udevadm", "settle"], check=True)
    command = ["lsblk", "--json", "--bytes", "--output", COLUMNS]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return understood(done.stdout, layout)


def understood(text: str, layout: Layout) -> list[Disk]:
    """Out of what `lsblk --json` says."""
    found = [each for each in json.loads(text)["blockdevices"] if _is_disk(each)]
    names = Counter(_identity(each) for each in found)
    several = {name for name, count in names.items() if name and count > 1}
    return [_disk(each, layout, by_several_ways=_identity(each) in several) for each in found]


def _is_disk(device: Mapping[str, Any]) -> bool:
    hardware_partition = device["name"].startswith("mmcblk") and "boot" in device["name"]
    return device["type"] not in _NO_DISKS and device["size"] > 0 and not hardware_partition


def _identity(device: Mapping[str, Any]) -> str:
    return device["wwn"] or ""


def _disk(device: Mapping[str, Any], layout: Layout, *, by_several_ways: bool) -> Disk:
    obstacle = next(_obstacles(device, layout), "")
    if by_several_ways and not obstacle:
        obstacle = "reached by several ways at once (multipath): leave one connected"
    children = device.get("children", [])
    has_data = any(child["partlabel"] == DATA for child in children)
    return Disk(
        path=device["path"],
        model=(device["model"] or "unknown model").strip(),
        serial=(device["serial"] or "").strip(),
        size=device["size"],
        bus=_bus(device),
        obstacle=obstacle,
        has_data=has_data,
        unlike=_unlike(children, layout) if has_data else "",
    )


def _bus(device: Mapping[str, Any]) -> str:
    by_name = next((bus for start, bus in _BUSES.items() if device["name"].startswith(start)), "scsi")
    return {"ata": "sata"}.get(device["tran"], device["tran"]) or by_name


def _obstacles(device: Mapping[str, Any], layout: Layout) -> Iterator[str]:
    """The first is the one that is told."""
    family = [device, *_descendants(device)]
    yield from (_LABELS[each["label"]] for each in family if each["label"] in _LABELS)
    for each in family:
        yield from _uses(each)
    if device["rm"]:
        yield "removable"
    if device["ro"]:
        yield "read-only: look for a switch on it"
    if device["size"] < layout.needed:
        yield f"too small: {sized(layout.needed)} are needed"
    if device["log-sec"] != 512:
        yield f"has sectors of {device['log-sec']} bytes: only 512 are supported"


def _uses(device: Mapping[str, Any]) -> Iterator[str]:
    if device["fstype"] in _RAIDS:
        yield f"part of {_RAIDS[device['fstype']]}: take it out of that first"
    if device["type"] not in {"disk", "part"}:
        yield f"in use: {device['path']} is made of it ({device['type']})"
    if any(device["mountpoints"]):
        yield f"in use: {device['path']} is mounted"


def _descendants(device: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for child in device.get("children", []):
        yield child
        yield from _descendants(child)


def _unlike(children: Sequence[Mapping[str, Any]], layout: Layout) -> str:
    """Its partitions are written to where they are: the table, and the data's place, stays."""
    there = {child["partn"]: child for child in children}
    for wanted in layout.partitions:
        found = there.get(wanted.number)
        if found is None or found["partlabel"] != wanted.label:
            return f"partition {wanted.number} is not {wanted.label}"
        if found["size"] < wanted.size:
            return f"partition {wanted.label} is smaller than this version needs"
    return "" if there[1]["start"] == FIRST_SECTOR else "its first partition lies elsewhere"


def sized(count: int) -> str:
    """As it is printed on disks: a GB is 1000 MB."""
    value, unit = count / 1e9, "GB"
    if value >= 1000:
        value, unit = value / 1000, "TB"
    return f"{value:.1f} {unit}"


def row(disk: Disk, mark: str) -> Iterator[str]:
    """A disk on a screen of 80 columns."""
    yield f"  {mark:>3}  {disk.name:<9} {sized(disk.size):>9}  {disk.bus:<6}  {disk.model[:44]}"
    if disk.serial:
        yield f"       serial number {disk.serial[:60]}"
    if disk.obstacle:
        yield f"       not usable: {disk.obstacle}"
    elif disk.has_data:
        yield "       holds a collector and its data"
