"""A small network of namespaces and cables on one machine, for the demo and for the tests.

    with Lab() as lab:
        phone, switch = lab.namespace("phone"), lab.namespace("switch")
        phone.link("eth0", switch, "port1")
        phone.address("eth0", "192.0.2.10/24")
        phone.run(["ping", "-c1", "192.0.2.20"])

However the `with` is left, the processes are stopped and the namespaces removed, and with them all links.
"""

from __future__ import annotations

import errno
import itertools
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypeAlias

from pyroute2 import netns

from collector.errors import HostError
from collector.operate.machine import Machine

BPFFS = Path("/sys/fs/bpf")
NOWHERE = subprocess.DEVNULL
Process: TypeAlias = subprocess.Popen[str]
Stream: TypeAlias = int | IO[str] | None  # as subprocess.Popen takes it

_serials = itertools.count(1)


class Lab:
    """Names carry the process and a serial number, so that any number of labs can stand side by side."""

    def __init__(self) -> None:
        self._prefix = f"lab-{os.getpid()}-{next(_serials)}"
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise HostError("Network namespaces need root", "run it again with sudo")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.__exit__(kind, error, trace)

    def namespace(self, name: str, *, ipv6: bool = False) -> Namespace:
        """`ipv6=False` keeps the links quiet: no router solicitations, no neighbour discovery."""
        path = f"/run/netns/{self._prefix}-{name}"
        if Path(path).exists():
            raise HostError(f"The network namespace {path} exists already")
        self._cleanup.callback(_remove_namespace, path)
        try:
            netns.create(path)
        except OSError as error:
            raise HostError(
                f"The network namespace {path} cannot be made: {error}",
                "a container must be privileged for this",
            ) from error
        namespace = Namespace(name, path)
        self._cleanup.callback(namespace.close)
        namespace.up("lo")
        if not ipv6:
            namespace.disable_ipv6()
        return namespace


class Namespace(Machine):
    """A machine that runs programs."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self._processes: list[Process] = []

    def close(self) -> None:
        with ExitStack() as each:
            each.callback(super().close)
            for process in self._processes:
                each.callback(stop, process)

    def run(
        self, argv: Sequence[str], *, check: bool = True, text: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs to the end; `text` is its standard input. With `check` a failure raises HostError."""
        with self.enter():
            done = subprocess.run(
                argv, input=text, timeout=timeout, text=True, capture_output=True, check=False
            )
        if check and done.returncode != 0:
            words = done.stderr.strip() or done.stdout.strip()
            raise HostError(f"{shlex.join(argv)}, in {self.name}, ended with {done.returncode}: {words}")
        return done

    def start(
        self, argv: Sequence[str], *, stdin: Stream = None, stdout: Stream = None, stderr: Stream = None
    ) -> Process:
        """Starts and returns; the lab stops the process at its end if it still runs."""
        with self.enter():
            process = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, text=True)
        self._processes.append(process)
        return process


def stop(process: Process, patience: float = 5.0) -> None:
    """SIGTERM, and SIGKILL when that is not heard; does nothing to a process that has ended."""
    process.terminate()
    if not ended_within(process, patience):
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


def ended_within(process: Process, seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def wait_for(condition: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    """Returns as soon as `condition` is true; `what` names it in the HostError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise HostError(f"Waited {timeout:g} s in vain for: {what}")
        time.sleep(0.02)


def ensure_bpffs() -> bool:
    """Makes sure that /sys/fs/bpf is the BPF file system; returns True when it had to mount it."""
    mounts = Path("/proc/mounts").read_text().splitlines()
    if any(line.split()[1:3] == [str(BPFFS), "bpf"] for line in mounts):
        return False
    mount = ["mount", "-t", "bpf", "bpf", str(BPFFS)]
    done = subprocess.run(mount, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise HostError(
            f"The BPF file system cannot be mounted: {done.stderr.strip()}", f"try: mount -t bpf bpf {BPFFS}"
        )
    return True


def _remove_namespace(path: str) -> None:
    try:
        netns.remove(path)
    except OSError as error:
        if error.errno != errno.ENOENT:  # never came to be
            raise
