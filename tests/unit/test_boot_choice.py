"""What GRUB finds after a power cut while the appliance changes its choice: never half of a change."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lib.grubenv import FAILED, FRESH, INSTALLED, SIZE, UPDATED, block, values

SCRIPT = Path(__file__).parents[2] / "image/root/usr/lib/appliance/boot-choice"
SECTOR = 512

# In place of dd: writes so many bytes at the write of that number, and then the power is gone.
CUT_DD = """\
#!/bin/sh
for word; do case $word in if=*) from=${word#if=} ;; of=*) to=${word#of=} ;; esac; done
number=$(($(cat "$COUNT") + 1))
echo $number > "$COUNT"
[ $number = "$WRITE" ] || exec /bin/dd if="$from" of="$to" conv=notrunc status=none
head -c "$BYTES" "$from" | /bin/dd of="$to" conv=notrunc status=none
[ "$GARBAGE" = 0 ] || head -c 512 /dev/zero | /bin/dd of="$to" conv=notrunc status=none
kill -KILL "$PPID"
"""


class Environment:
    def __init__(self, folder: Path, held: dict[str, str]) -> None:
        self.folder = folder
        self.block, self.copy = folder / "grubenv", folder / "grubenv.copy"
        self.block.write_bytes(block(held))
        self.copy.write_bytes(block(held))

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}:/usr/bin:/bin"
        known = {"BOOT_ENV": str(self.folder), "TMPDIR": str(self.folder), "PATH": path, **more}
        return subprocess.run([SCRIPT, *words], env=known, capture_output=True, text=True, check=False)

    def cut(self, words: str, write: int, length: int, *, garbage: bool) -> bool:
        """False when the change was done before the cut came."""
        shim, count = self.folder / "dd", self.folder / "count"
        shim.write_text(CUT_DD)
        shim.chmod(0o755)
        count.write_text("0")
        done = self.run(*words.split(), COUNT=str(count), WRITE=str(write), BYTES=str(length),
                        GARBAGE=str(int(garbage)))  # fmt: skip
        shim.unlink()
        return done.returncode != 0

    def grub(self) -> dict[str, str]:
        found = values(self.block.read_bytes()) or values(self.copy.read_bytes())
        assert found is not None
        return found

    def starts(self) -> str:
        """Which slot grub.cfg takes."""
        known = self.grub()
        order = (known["PRIMARY"], "A", "B")
        return next((s for s in order if known[f"{s}_OK"] == "1" and known[f"{s}_TRY"] != "3"), order[0])


@pytest.fixture
def fresh(tmp_path: Path) -> Environment:
    return Environment(tmp_path, FRESH)


CHANGES = [
    (FRESH, "set-primary B"),
    (INSTALLED | {"B_TRY": "1"}, "set-state B good"),
    (INSTALLED, "set-state B bad"),
    (UPDATED, "set-primary A"),
    (UPDATED | {"A_TRY": "2"}, "set-state A bad"),
    (FAILED, "set-primary A"),
    (FAILED, "set-state B bad"),
]


def cuts(before: bytes, after: bytes) -> Iterator[tuple[int, bool]]:
    """At each byte that changes, and at the sectors' ends; and with a sector that came to harm."""
    changed = [at for at in range(SIZE) if before[at] != after[at]]
    for length in sorted({0, *changed, *(at + 1 for at in changed), SECTOR, SIZE}):
        yield length, False
    yield 0, True


@pytest.mark.parametrize(("held", "change"), CHANGES)
def test_a_power_cut_leaves_what_was_or_what_is_wanted(
    tmp_path: Path, held: dict[str, str], change: str
) -> None:
    whole = Environment(tmp_path, held)
    before, first = whole.block.read_bytes(), whole.starts()
    assert whole.run(*change.split()).returncode == 0
    after, last = whole.block.read_bytes(), whole.starts()
    for write in (1, 2):
        for length, garbage in cuts(before, after):
            cut = Environment(tmp_path, held)
            assert cut.cut(change, write, length, garbage=garbage)
            assert cut.starts() in {first, last}, (write, length, garbage)
            assert write == 1 or cut.starts() == last
            assert cut.run(*change.split()).returncode == 0
            assert cut.block.read_bytes() == cut.copy.read_bytes() == after


@pytest.mark.parametrize(("held", "change"), CHANGES)
def test_only_single_characters_of_the_first_sector_change(
    tmp_path: Path, held: dict[str, str], change: str
) -> None:
    environment = Environment(tmp_path, held)
    assert environment.run(*change.split()).returncode == 0
    found = environment.block.read_bytes()
    assert len(found) == SIZE
    assert [len(line) for line in found.split(b"\n")] == [len(line) for line in block(held).split(b"\n")]
    assert found[SECTOR:] == block(held)[SECTOR:]


@pytest.mark.parametrize(
    ("held", "words", "said"),
    [
        (FRESH, "get-primary", "A"),
        (INSTALLED, "get-primary", "B"),
        (FRESH, "get-state A", "good"),
        (FRESH, "get-state B", "bad"),
        (INSTALLED, "get-state B", "bad"),
        (UPDATED, "get-state B", "good"),
        (UPDATED | {"B_TRY": "1"}, "get-state B", "good"),
        (UPDATED | {"B_TRY": "3"}, "get-state B", "bad"),
        (FAILED, "get B_TRY", "3"),
    ],
)
def test_what_is_known(tmp_path: Path, held: dict[str, str], words: str, said: str) -> None:
    done = Environment(tmp_path, held).run(*words.split())
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{said}\n", "")


def test_a_damaged_block_is_mended_from_its_copy(fresh: Environment) -> None:
    fresh.block.write_bytes(b"\xff" * SIZE)
    assert fresh.run("get-primary").stdout == "A\n"
    assert fresh.block.read_bytes() == block(FRESH)


def test_two_damaged_ones_are_left_alone(fresh: Environment) -> None:
    for file in (fresh.block, fresh.copy):
        file.write_bytes(b"\xff" * SIZE)
    done = fresh.run("set-primary", "B")
    assert (done.returncode, done.stderr) == (1, f"{fresh.block} and its copy are damaged\n")
    assert fresh.block.read_bytes() == b"\xff" * SIZE


@pytest.mark.parametrize("words", ["", "set-primary C", "set-state A maybe", "get-state"])
def test_what_it_does_not_know_it_refuses(fresh: Environment, words: str) -> None:
    done = fresh.run(*words.split())
    assert done.returncode == 2
    assert done.stderr.startswith("usage: boot-choice get-primary")
    assert fresh.block.read_bytes() == block(FRESH)
