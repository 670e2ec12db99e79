"""A build that is interrupted, or fails, says so, leaves nothing behind, and does not harm the next one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

pytestmark = pytest.mark.long

TREE = Path(__file__).parents[2]
GIT = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "safe.directory=*"]


class Checkout:
    """The image's own part of this checkout, whose build ends after the packages, of which there are few."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.log = tree / ".cache/image/build.log"
        shutil.copytree(TREE / "image", tree / "image", symlinks=True)
        shutil.copy(TREE / "pyproject.toml", tree)
        for step in sorted((tree / "image/steps").iterdir())[2:]:
            step.unlink()
        (tree / "image/packages.list").write_text("netbase\n")
        cache = TREE / ".cache/image"
        kept = [*cache.glob("tools-*.tar"), cache / "packages"]
        (tree / ".cache/image").mkdir(parents=True)
        for path in kept:
            (tree / ".cache/image" / path.name).symlink_to(path)
        for command in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "a test's"]):
            subprocess.run([*GIT, "-C", tree, *command], check=True)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.tree / "image/build.sh", self.tree / "dist"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def build(self) -> tuple[int, str]:
        process = self.start()
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def processes(self) -> list[str]:
        """Those that have anything to do with the checkout."""
        return [
            path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if self._is_ours(path.parent)
        ]

    def _is_ours(self, process: Path) -> bool:
        try:
            links = [str((process / name).readlink()) for name in ("cwd", "root")]
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            mounts = (process / "mountinfo").read_text()
        except OSError:  # it has ended meanwhile
            return False
        return any(str(self.tree) in text for text in (*links, *words, mounts))

    def installs(self) -> bool:
        """In the middle of the packages: dpkg works inside the new root."""
        root = self.log.with_name("work") / "root"
        return (root / "var/lib/dpkg/info").exists()


@pytest.fixture
def checkout() -> Iterator[Checkout]:
    with TemporaryDirectory(prefix="collector-test-", dir="/var/tmp") as folder:
        yield Checkout(Path(folder) / "tree")


def until(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def outside() -> dict[str, set[str]]:
    """What a build could leave on this machine, outside its own checkout."""
    loops = subprocess.run(
        ["losetup", "--noheadings", "--output", "NAME"], capture_output=True, text=True, check=True
    )
    names = {
        path.name
        for folder in ("/tmp", "/var/tmp")  # noqa: S108
        for path in Path(folder).glob("*mmdebstrap*")
    }
    mounts = {
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if ".cache/image" in line
    }
    return {"loop devices": set(loops.stdout.split()), "files": names, "mounts": mounts}


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda kind: kind.name)
def test_interrupted(checkout: Checkout, kind: signal.Signals) -> None:
    before = outside()
    process = checkout.start()
    try:
        until(lambda: checkout.installs() or process.poll() is not None)
        assert len(checkout.processes()) > 3
        os.kill(process.pid, kind)
        process.communicate(timeout=60)
    finally:
        process.kill()
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    assert process.returncode == expected[kind]
    until(lambda: not checkout.processes(), 20)
    assert outside() == before
    assert [path.name for path in (checkout.tree / "dist").iterdir()] == []
    assert (checkout.tree / ".cache/image/work").exists() == (kind == signal.SIGKILL)
    if kind == signal.SIGKILL:
        code, said = checkout.build()
        assert (code, "[2/2] Packages" in said) == (0, True), said
        assert not (checkout.tree / ".cache/image/work").exists()


def test_a_step_that_fails_says_why(checkout: Checkout) -> None:
    """The tools stay out of it: nothing of the build is needed to fail."""
    for step in (checkout.tree / "image/steps").iterdir():
        step.unlink()
    (checkout.tree / "image/steps/10-first.sh").write_text("# First: it is fine\n\ntrue\n")
    (checkout.tree / "image/steps/20-second.sh").write_text(
        "# Second: it is not\n\nsh -c 'echo The disk is full. >&2; exit 7'\n"
    )
    code, said = checkout.build()
    assert code == 7
    first, second, *rest = said.splitlines()
    assert first == "[1/2] First: it is fine (0 s)"
    # The end of the log stands behind the step's name.
    assert second.startswith("[2/2] Second: it is not ")
    assert rest[-4:] == [
        "The disk is full.",
        "",
        "The build failed in this step, with exit code 7: Second: it is not",
        f"All that it said is in {checkout.log}",
    ]
    assert checkout.processes() == []
    assert not (checkout.tree / ".cache/image/work").exists()


def test_two_at_a_time_are_refused(checkout: Checkout) -> None:
    lock = checkout.tree / ".cache/image/lock"
    with subprocess.Popen(["flock", lock, "cat"], stdin=subprocess.PIPE) as holder:
        until(lambda: subprocess.run(["flock", "--nonblock", lock, "true"], check=False).returncode != 0, 10)
        assert checkout.build() == (1, "Another build is running in this folder.\n")
        assert holder.stdin is not None
        holder.stdin.close()
