"""The screen and the serial port, at once: both show the same, and whoever types first is heard."""

from __future__ import annotations

import os
import select
import termios
from collections.abc import Callable
from pathlib import Path

ACTIVE = Path("/sys/class/tty/console/active")
WIDTH = 40  # of a bar


class Screen:
    def __init__(self, descriptors: list[int], log: Callable[[str], None]) -> None:
        self._all = descriptors
        self._log = log
        self._bar = ""

    def say(self, text: str = "") -> None:
        self._log(f"{text}\n")
        self.show(text)

    def show(self, text: str) -> None:
        """Without noting it."""
        self._put(f"{text}\n")

    def ask(self, prompt: str, meanwhile: Callable[[], bool] = lambda: False) -> str | None:
        """What is typed, in one line; nothing when something else has come meanwhile."""
        self._put(prompt)
        while True:
            ready, _, _ = select.select(self._all, [], [], 1.0)
            for descriptor in ready:
                if (line := self._line(descriptor)) is not None:
                    self._log(f"{prompt}{line}\n")
                    self._put(f"{line}\n", all_but=descriptor)
                    return line.strip()
            if meanwhile():
                self._put("\n")
                return None

    def progress(self, title: str, done: int, total: int) -> None:
        """Each step of the bar once, and on a line of its own when it is full."""
        percent = 100 * done // total
        bar = "#" * (WIDTH * percent // 100)
        text = f"\r  {title:<22} [{bar:<{WIDTH}}] {percent:3} %"
        if text != self._bar:
            self._bar = text
            self._put(text if done < total else f"{text}\n")
        if done == total:
            self._log(f"{title}: {total} bytes\n")

    def _line(self, descriptor: int) -> str | None:
        try:
            said = os.read(descriptor, 1024)
        except OSError:
            said = b""
        if not said:  # hung up
            self._drop(descriptor)
            return None
        return said.decode(errors="replace").rstrip("\r\n")

    def _put(self, text: str, all_but: int = -1) -> None:
        data = text.encode(errors="replace")
        for descriptor in [each for each in self._all if each != all_but]:
            try:
                _write_all(descriptor, data)
            except OSError:
                self._drop(descriptor)

    def _drop(self, descriptor: int) -> None:
        os.close(descriptor)
        self._all.remove(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def consoles() -> list[int]:
    """The kernel's own: a serial port that is not there is not among them."""
    names = ACTIVE.read_text().split()
    return [_open(f"/dev/{'tty1' if name == 'tty0' else name}") for name in names]


def _open(path: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    mode = termios.tcgetattr(descriptor)
    mode[0] = termios.ICRNL  # no flow control: a stray Ctrl-S would stop the installation
    mode[1] = termios.OPOST | termios.ONLCR
    mode[2] |= termios.CLOCAL | termios.CREAD
    mode[3] = termios.ICANON | termios.ECHO | termios.ECHOE | termios.ECHOK
    termios.tcsetattr(descriptor, termios.TCSANOW, mode)
    termios.tcflush(descriptor, termios.TCIFLUSH)
    os.set_blocking(descriptor, True)
    return descriptor
