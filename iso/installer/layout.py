"""The partitions of an installed disk, as systemd-repart's definitions have them."""

from __future__ import annotations

from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path

DATA = "collector-data"
ROOT = "collector-a"
FIRST_SECTOR = 2048  # where the build pointed the boot sector to
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TABLES = 2 << 20  # the partition tables, at both ends of the disk


@dataclass(frozen=True)
class Partition:
    number: int
    label: str
    size: int


@dataclass(frozen=True)
class Layout:
    partitions: tuple[Partition, ...]

    @property
    def needed(self) -> int:
        return sum(each.size for each in self.partitions) + _TABLES


def read(folder: Path) -> Layout:
    files = sorted(folder.glob("*.conf"))
    return Layout(tuple(_partition(number, file) for number, file in enumerate(files, 1)))


def _partition(number: int, file: Path) -> Partition:
    parser = ConfigParser(interpolation=None)
    parser.read_string(file.read_text())
    section = parser["Partition"]
    size = section["SizeMinBytes"]
    return Partition(number, section["Label"], int(size[:-1]) * _UNITS[size[-1]])
