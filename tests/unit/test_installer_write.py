"""What the installer writes, and that it notices when a disk does not hold it."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from iso.installer import medium, write
from iso.installer.disks import Disk
from iso.installer.errors import InstallError
from iso.installer.medium import CHUNK, Image
from iso.installer.write import Target

SIZES = {"collector-a": 2 * CHUNK + 4096, "collector-bios": 1000}


class Bench:
    """Files in the place of disks and partitions."""

    def __init__(self, folder: Path) -> None:
        self.images = []
        nodes = {}
        for number, (label, size) in enumerate(SIZES.items()):
            source = folder / f"{label}.img"
            source.write_bytes(os.urandom(size))
            nodes[label] = folder / f"partition{number}"
            nodes[label].write_bytes(bytes(4 * CHUNK))
            self.images.append(Image(label, number, source, size))
        self.disk = Disk(str(folder / "disk"), "", "", 1 << 30, "virtio")
        self.target = Target(self.disk, nodes)
        self.seen: list[tuple[int, int]] = []

    def progress(self, done: int, total: int) -> None:
        self.seen.append((done, total))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr("fcntl.ioctl", lambda *_words: 0)  # only devices have a cache to empty
    return Bench(tmp_path)


def test_each_image_lies_at_the_start_of_its_partition(bench: Bench) -> None:
    write.write(bench.target, bench.images, bench.progress)
    for image in bench.images:
        found = bench.target.nodes[image.label].read_bytes()
        assert found[: image.size] == image.source.read_bytes()
        assert found[image.size :] == bytes(4 * CHUNK - image.size)
    total = sum(SIZES.values())
    assert bench.seen[-1] == (total, total)
    write.verify(bench.target, bench.images, bench.progress)
    assert bench.seen[-1] == (total, total)


def test_one_wrong_bit_is_noticed(bench: Bench) -> None:
    write.write(bench.target, bench.images, bench.progress)
    node = bench.target.nodes["collector-a"]
    with node.open("r+b") as file:
        file.seek(SIZES["collector-a"] - 1)
        last = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(InstallError) as error:
        write.verify(bench.target, bench.images, bench.progress)
    assert str(error.value) == (
        f"{node}: what is read back is not what was written.\n"
        "The disk, its cable, its adapter or this machine's memory is defective."
    )


def test_a_disk_that_fails_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_words: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(write, "_write_all", fail)
    with pytest.raises(InstallError) as error:
        write.write(bench.target, bench.images, bench.progress)
    assert str(error.value) == (
        f"{bench.target.nodes['collector-a']} cannot be written near byte 0: Input/output error.\n"
        "The disk, its cable or its adapter is defective: try another disk."
    )


def test_the_partition_table_behind_the_boot_sector_stays(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/boot.img").write_bytes(b"\x90" * 440)
    monkeypatch.setattr(medium, "FOLDER", tmp_path)
    Path(bench.disk.path).write_bytes(b"T" * 1024)
    write.write_boot_sector(bench.disk)
    assert Path(bench.disk.path).read_bytes() == b"\x90" * 440 + b"T" * 584


def test_a_damaged_medium_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "root"
    root.write_bytes(b"as it was built")
    (tmp_path / "root.b2sum").write_text(f"{hashlib.blake2b(root.read_bytes()).hexdigest()}\n")
    monkeypatch.setattr(medium, "FOLDER", tmp_path)
    monkeypatch.setattr(medium, "root_image", lambda: root)
    medium.require_whole(lambda _done, _total: None)
    root.write_bytes(b"as it was burnt")
    with pytest.raises(
        InstallError, match=r"^What was read from the medium is damaged\. Nothing was changed\.\n"
    ):
        medium.require_whole(lambda _done, _total: None)
