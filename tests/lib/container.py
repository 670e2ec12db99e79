"""A plain Debian that has booted, in a network namespace of a box: its own systemd, on this kernel."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from collector.operate.lab import Process, wait_for

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "appliance"
CACHE = ROOT / ".cache" / "deb"
Done = subprocess.CompletedProcess[str]
BOOT_PATIENCE = 60.0  # seconds


def root_of(suite: str) -> Path:
    """The Debian, as a tar file; made once."""
    listed = (HERE / "packages.list").read_text()
    packages = [line for line in listed.splitlines() if line and not line.startswith("#")]
    tar = CACHE / f"clean-{suite}-{hashlib.sha256(listed.encode()).hexdigest()[:16]}.tar.zst"
    if not tar.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        for former in CACHE.glob(f"clean-{suite}-*"):
            former.unlink()
        part = tar.with_name(f"clean-{suite}-part.tar.zst")
        wanted = f"--include={','.join(packages)}"
        quick = ("--quiet", "--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"')
        subprocess.run(["mmdebstrap", *quick, "--variant=minbase", wanted, suite, part], check=True)
        part.rename(tar)
    return tar


class Container:
    """`packages`: a folder that it sees as /packages; `console`: a file for what it says."""

    def __init__(self, suite: str, *, namespace: str, packages: Path, console: Path) -> None:
        self._argv = [
            *("setpriv", "--pdeathsig=KILL"),
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"),
            *(str(HERE / "container.sh"), str(root_of(suite)), namespace, str(packages)),
        ]
        self._console = console
        self._init = 0  # the process id of its systemd, as seen from here

    def __enter__(self) -> Self:
        with self._console.open("w") as console:
            self._process: Process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console, text=True
            )
        try:
            wait_for(self._booted, "the container's systemd", BOOT_PATIENCE)
        except BaseException:
            self._end()
            print(self._console.read_text())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        """Everything in it ends with its first process."""
        self._process.kill()
        self._process.wait()

    def _booted(self) -> bool:
        assert self._process.poll() is None, "the container has ended"
        self._init = next((pid for pid in _descendants(self._process.pid) if _name(pid) == "systemd"), 0)
        return self._init != 0 and self._state() == "running\n"

    def _state(self) -> str:
        return self.run("systemctl", "is-system-running", check=False).stdout

    def run(
        self, *argv: str, check: bool = True, text: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._inside(argv), input=text, text=True, capture_output=True, check=False, timeout=120
        )
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def start(self, *argv: str) -> Process:
        pipe = subprocess.PIPE
        return subprocess.Popen(self._inside(argv), stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def _inside(self, argv: tuple[str, ...]) -> list[str]:
        environment = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb")
        enter = ("nsenter", f"--target={self._init}", "--all", "--root", "--")
        return [*enter, "env", "--ignore-environment", "--chdir=/", *environment, *argv]

    def says(self, *argv: str) -> str:
        return self.run(*argv).stdout

    def write(self, path: str, text: str) -> None:
        self.run("tee", path, text=text)

    def files(self) -> set[str]:
        """On its disk, without what comes and goes by itself."""
        changing = ("/var/log/journal", "/var/cache/man", "/root")
        prune = [word for path in changing for word in ("-path", path, "-prune", "-o")]
        return set(self.says("find", "/", "-xdev", *prune, "-print").splitlines())


def _descendants(pid: int) -> Iterator[int]:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _name(pid: int) -> str:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
