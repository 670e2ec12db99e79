"""A person at a console of 80 columns and 24 lines: what the screen says, and keys."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from collector.operate.lab import Process, stop
from tests.lib.rig import Rig

MORE = "-- Enter: go on --"


@dataclass
class Console:
    process: Process
    terminal: int
    unread: str = ""
    whole: str = ""

    def expect(self, text: str, timeout: float = 30.0) -> str:
        """Waits for the text, going on where it stops at the end of a screen; returns what led to it."""
        deadline, seen = time.monotonic() + timeout, ""
        while text not in self.unread:
            if MORE in self.unread:
                seen += self._take(MORE)
                self.type("\r")
            left = deadline - time.monotonic()
            assert left > 0, f"waited in vain for {text!r} after:\n{self.whole}"
            if MORE not in self.unread and select.select([self.terminal], [], [], left)[0]:
                assert self._read(), f"it ended after:\n{self.whole}"
        return seen + self._take(text)

    def _take(self, text: str) -> str:
        seen, _, self.unread = self.unread.partition(text)
        return seen

    def _read(self) -> str:
        try:
            said = os.read(self.terminal, 4096).decode().replace("\r\n", "\n")
        except OSError:  # EIO: nobody has the other end any more
            return ""
        self.unread, self.whole = self.unread + said, self.whole + said
        return said

    def type(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def answer(self, prompt: str, keys: str = "") -> str:
        seen = self.expect(prompt)
        self.type(keys + "\r")
        return seen

    def interrupt(self) -> None:
        """Again where it goes on, as a person would: not while it ends."""
        deadline = time.monotonic() + 30
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"Ctrl-C does not end it:\n{self.whole}"
            self.type("\x03")
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(5)

    def end(self, code: int) -> str:
        """What it still said. Nothing that it said is wider than the screen."""
        while select.select([self.terminal], [], [], 60)[0] and self._read():
            pass
        assert self.process.wait(10) == code, self.whole
        lines = re.split("[\r\n]", re.sub(r"\x1b\[[0-9]*[A-Z]", "", self.whole))
        assert not any(len(line) > 80 for line in lines), self.whole
        return self.unread


@contextmanager
def console(
    rig: Rig, program: str = "", term: str = "vt220", folder: Path | None = None
) -> Iterator[Console]:
    """`setup`, at a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    python = [sys.executable, *(["-c", program] if program else ["-m", "collector"])]
    options = ["-c", str(rig.tool.file), "--instance", rig.tool.instance, "setup"]
    command = [
        "setsid",
        "--ctty",
        "env",
        "-u",
        "SUDO_USER",
        f"TERM={term}",
        f"FOLDER={folder}",
        *python,
        *options,
    ]
    with _interruptible():
        process = rig.collector.start(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        yield Console(process, ours)
    finally:
        stop(process)
        os.close(ours)


@contextmanager
def _interruptible() -> Iterator[None]:
    """What is started by a shell in the background ignores Ctrl-C, and so would its children."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
