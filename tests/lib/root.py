"""Looks into a root whose files lie in a folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path


def paths(root: Path) -> Iterator[Path]:
    """Everything below it."""
    for folder, folders, files in os.walk(root):
        yield from (Path(folder) / name for name in (*folders, *files))


def listed(root: Path, wanted: Callable[[Path], bool]) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in paths(root) if wanted(path))


def text_of(root: Path, name: str) -> str:
    return (root / name).read_text()


def accounts(root: Path, file: str) -> list[list[str]]:
    return [line.split(":") for line in text_of(root, file).splitlines()]


def run_in(root: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Runs the root's own programs on its files, with what they expect to be mounted."""
    mounts = 'mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/run" && mount --bind /dev "$1/dev"'
    script = f'{mounts} && exec chroot "$1" sh -c "$2"'
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    return subprocess.run(
        [*namespaces, "sh", "-c", script, "sh", root, command], capture_output=True, text=True, check=False
    )


def exists_inside(root: Path, path: Path) -> bool:
    """As a process in the root would see it."""
    for _ in range(40):
        if not path.is_symlink():
            return path.exists()
        target = path.readlink()
        path = root / target.relative_to("/") if target.is_absolute() else path.parent / target
        path = Path(os.path.normpath(path))
    return False
