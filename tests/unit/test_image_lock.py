"""The image's lock of Debian packages: what is taken, what is told, what is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "image/lock.py"
FILES = {
    "less_668-1_amd64.deb": b"less",
    "sudo_1%3a1.9-3_amd64.deb": b"sudo",
    "tzdata_2026a_all.deb": b"zones",
}
LINES = [
    f"less 668-1 amd64 {hashlib.sha256(b'less').hexdigest()}",
    f"sudo 1:1.9-3 amd64 {hashlib.sha256(b'sudo').hexdigest()}",
    f"tzdata 2026a all {hashlib.sha256(b'zones').hexdigest()}",
]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False)


def said(*arguments: str | Path) -> list[str]:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As apt keeps what it has fetched."""
    folder = tmp_path / "archives"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def lock(tmp_path: Path, folder: Path) -> Path:
    path = tmp_path / "packages.lock"
    path.write_text("\n".join(said("lines", folder)))
    return path


def test_a_line_for_each_package(lock: Path) -> None:
    heading, *lines = lock.read_text().splitlines()
    assert heading.startswith("# ")
    assert lines == LINES


def test_apt_prefers_the_locked_versions(lock: Path) -> None:
    assert said("preferences", lock)[4:8] == [
        "Package: sudo", "Pin: version 1:1.9-3", "Pin-Priority: 1001", "",
    ]  # fmt: skip


def test_all_is_as_locked(lock: Path, folder: Path) -> None:
    assert said("check", lock, folder) == []
    assert said("known", lock, folder) == [str(folder / name) for name in sorted(FILES)]


def test_another_version_is_told(lock: Path, folder: Path) -> None:
    (folder / "less_668-1_amd64.deb").rename(folder / "less_668-1+deb13u1_amd64.deb")
    (folder / "nano_8.4-1_amd64.deb").write_bytes(b"nano")
    assert said("check", lock, folder) == [
        "less 668-1+deb13u1 in place of 668-1",
        "nano 8.4-1 in place of none",
    ]
    assert len(said("known", lock, folder)) == 2


def test_another_file_of_the_same_version_is_refused(lock: Path, folder: Path) -> None:
    (folder / "less_668-1_amd64.deb").write_bytes(b"more")
    done = run("check", lock, folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "less_668-1_amd64.deb is not the file that image/packages.lock names: its SHA-256 is",
        f"{hashlib.sha256(b'more').hexdigest()}, and should be",
        f"{hashlib.sha256(b'less').hexdigest()}. One of the two was changed, though the",
        "version is the same: find out which before you build.",
    ]
    assert said("known", lock, folder) == [str(folder / name) for name in sorted(FILES)[1:]]
