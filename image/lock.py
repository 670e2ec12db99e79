"""Keeps packages.lock: which version of which Debian package the build takes, and what its file must be.

usage: lock.py preferences LOCK      prints what makes apt take the versions of the lock, where there are such
       lock.py known LOCK FOLDER     prints the packages of the folder that are those of the lock
       lock.py check LOCK FOLDER     prints those that have another version; fails if only the file is another
       lock.py lines FOLDER          prints the lock that the packages of the folder make

A line of the lock is NAME VERSION ARCHITECTURE SHA256; the folder is one as apt keeps it, of .deb files.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

HEADING = "# The image's Debian packages and those that build it; `make image-lock` writes this file anew."


class Package(NamedTuple):
    name: str
    version: str
    architecture: str
    sha256: str


def read_lock(path: str) -> dict[str, Package]:
    lines = (line for line in Path(path).read_text().splitlines() if line and not line.startswith("#"))
    return {package.name: package for package in (Package(*line.split()) for line in lines)}


def packages(folder: str) -> Iterator[tuple[Path, Package]]:
    for path in sorted(Path(folder).glob("*.deb")):
        name, version, architecture = unquote(path.stem).split("_")
        yield path, Package(name, version, architecture, hashlib.sha256(path.read_bytes()).hexdigest())


def preferences(lock: str) -> Iterator[str]:
    for package in read_lock(lock).values():
        yield f"Package: {package.name}\nPin: version {package.version}\nPin-Priority: 1001\n"


def known(lock: str, folder: str) -> Iterator[str]:
    locked = set(read_lock(lock).values())
    yield from (str(path) for path, package in packages(folder) if package in locked)


def check(lock: str, folder: str) -> Iterator[str]:
    locked = read_lock(lock)
    for path, package in packages(folder):
        wanted = locked.get(package.name)
        if wanted is None:
            yield f"{package.name} {package.version} in place of none"
        elif wanted[:3] != package[:3]:
            yield f"{package.name} {package.version} in place of {wanted.version}"
        elif wanted != package:
            sys.exit(
                f"{path.name} is not the file that image/packages.lock names: its SHA-256 is\n"
                f"{package.sha256}, and should be\n{wanted.sha256}. One of the two was changed, though the\n"
                "version is the same: find out which before you build."
            )


def lines(folder: str) -> Iterator[str]:
    yield HEADING
    yield from (" ".join(package) for _path, package in packages(folder))


COMMANDS: dict[str, Callable[..., Iterator[str]]] = {
    command.__name__: command for command in (preferences, known, check, lines)
}

if __name__ == "__main__":
    for said in COMMANDS[sys.argv[1]](*sys.argv[2:]):
        sys.stdout.write(f"{said}\n")
