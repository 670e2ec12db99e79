"""The answer file, install.yaml: on which disk to install without asking, and what becomes of its data."""

from __future__ import annotations

import operator
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from iso.installer.disks import Disk, sized
from iso.installer.errors import InstallError

FILE = "install.yaml"
CREDENTIAL = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"), "collector.install")
VOLUME = Path("/dev/disk/by-label/COLLECTOR")
MEDIUM = Path("/run/install", FILE)  # GRUB has taken it off the medium
MOST_BYTES = 1 << 20

SELECTORS = ("serial", "model", "bus", "size", "path")
CHOICES = {"data": ("keep", "erase"), "then": ("restart", "poweroff")}
_SIZE = re.compile(r"(>=|<=|>|<)\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?")
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True)
class Answer:
    where: str
    selectors: Mapping[str, str]  # none: any disk that can be used, if there is only one
    data: str
    then: str


def there() -> frozenset[Path]:
    return frozenset(path for path in (CREDENTIAL, VOLUME, MEDIUM) if path.exists())


def find() -> Answer | None:
    """The first that is there: what is nearest to this very machine."""
    for where, text in _brought():
        return parse(text, where)
    return None


def _brought() -> Iterator[tuple[str, str]]:
    if CREDENTIAL.exists():
        yield "the credential collector.install", CREDENTIAL.read_text(errors="replace")
    if VOLUME.exists() and (text := _on_volume()) is not None:
        yield f"{FILE} on the volume COLLECTOR", text
    if MEDIUM.exists():
        yield f"{FILE} on the installation medium", MEDIUM.read_text(errors="replace")


def _on_volume() -> str | None:
    with TemporaryDirectory() as folder:
        options = ["-t", "vfat,ext4,iso9660", "-o", "ro,nosuid,nodev,noexec"]
        done = subprocess.run(
            ["mount", *options, VOLUME, folder], check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise InstallError(f"The volume COLLECTOR cannot be read: {done.stderr.strip()}")
        try:
            return _text(Path(folder, FILE))
        finally:
            subprocess.run(["umount", folder], check=True)


def _text(path: Path) -> str | None:
    if path.is_symlink() or not path.is_file():
        return None
    with path.open(errors="replace") as file:
        return file.read(MOST_BYTES)


def parse(text: str, where: str) -> Answer:
    try:
        # Every value as it is written: a serial number may look like a number, or a date.
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - text, lists and dictionaries only
    except yaml.YAMLError as error:
        raise InstallError(f"{where}: this is not YAML: {error}") from None
    if not isinstance(document, dict):
        raise InstallError(f"{where}: it must have the key disk, as in `disk: any`")
    _only(document, ("disk", *CHOICES), where)
    for key, words in CHOICES.items():
        if document.get(key, words[0]) not in words:
            raise InstallError(f"{where}: {key} is {words[0]} or {words[1]}")
    chosen = {key: document.get(key, words[0]) for key, words in CHOICES.items()}
    return Answer(where, _selectors(document.get("disk"), where), **chosen)


def _only(given: Mapping[str, object], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise InstallError(f"{where}: there is no key {key}; there are {', '.join(known)}")


def _selectors(disk: object, where: str) -> dict[str, str]:
    if disk == "any":
        return {}
    if not isinstance(disk, dict) or not disk:
        raise InstallError(f"{where}: disk is `any`, or some of {', '.join(SELECTORS)} with their values")
    _only(disk, SELECTORS, f"{where}: disk")
    for key, value in disk.items():
        if not isinstance(value, str) or not value:
            raise InstallError(f"{where}: disk: {key} has no value")
    if "size" in disk and not _SIZE.fullmatch(disk["size"].strip()):
        raise InstallError(f'{where}: disk: size is such as ">=100G", not {disk["size"]}')
    return dict(disk)


def choose(answer: Answer, disks: Sequence[Disk]) -> Disk:
    """The only one that it can be."""
    matching = [disk for disk in disks if not disk.obstacle and not list(mismatches(answer, disk))]
    if len(matching) == 1:
        return matching[0]
    count = f"{len(matching)} disks match" if matching else "no disk matches"
    reasons = "\n".join(f"  {line}" for disk in disks for line in _verdict(answer, disk))
    raise InstallError(
        f"By {answer.where}, {count}; it must be exactly one. Nothing was changed.\n"
        + (reasons or "  This machine has no disk.")
    )


def _verdict(answer: Answer, disk: Disk) -> Iterator[str]:
    yield f"{disk.name}: {sized(disk.size)}, {disk.bus}, {disk.model}, serial number {disk.serial or 'none'}"
    why = f"not usable: {disk.obstacle}" if disk.obstacle else "; ".join(mismatches(answer, disk))
    yield f"  {why or 'matches'}"


def mismatches(answer: Answer, disk: Disk) -> Iterator[str]:
    for key, wanted in answer.selectors.items():
        if not _matches(key, wanted.strip(), disk):
            yield f"{key} is not {wanted}"


def _matches(key: str, wanted: str, disk: Disk) -> bool:
    if key == "size":
        return _size_matches(wanted, disk.size)
    if key == "path":
        return str(Path(wanted).resolve()) == disk.path
    return fnmatchcase(str(getattr(disk, key)).casefold(), wanted.casefold())


def _size_matches(wanted: str, size: int) -> bool:
    found = _SIZE.fullmatch(wanted)
    assert found is not None  # noqa: S101 - parse has looked at it
    compare, number, unit, binary = found.groups()
    factor = (1024 if binary else 1000) ** " KMGT".index(unit or " ")
    return bool(_COMPARE[compare](size, float(number) * factor))
