"""The console: lines in and out, and one place that is drawn anew every second."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

import click

from collector.errors import InputError
from collector.operate.setup.dialogue import Question, complaint, pages, prompt, screen

BACK = "back"
_INTERRUPT, _END = "\x03", "\x04"
_MORE = "-- Enter: go on --"
_ERASE = ("\x7f", "\b")
_told_to_leave = threading.Event()


def require_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InputError(
            "setup asks questions, and there is nobody to answer: this is no terminal",
            "Run it at the console or over SSH. Without a person: write the file, then collector apply.",
        )


def leave_on(*numbers: int) -> None:
    """These signals end it by SystemExit, so that what was changed to look is put back. Python drops an
    exception that falls into a finaliser, so it is raised again at the next look at the keyboard."""
    for number in numbers:
        signal.signal(number, _leave)


def _leave(_number: int, _frame: FrameType | None) -> None:
    _told_to_leave.set()
    sys.exit(1)


def say(text: str = "") -> None:
    click.echo(text)


def show(text: str, below: int) -> None:
    """In parts where it is longer than the screen; `below`: lines of what comes next."""
    height = shutil.get_terminal_size((80, 24)).lines
    *most, last = pages(text, height)
    for page in most:
        say(page)
        _read_line(_MORE)
    say(last)
    if len(last.splitlines()) > height - below:
        _read_line(_MORE)


def ask(asked: Question, number: int = 0) -> str:
    """What was typed; what cannot be is said, and asked for again. click.Abort at Ctrl-C."""
    say(screen(asked, number))
    return ask_again(asked, lambda: _read_line(prompt(asked)))


def _read_line(label: str) -> str:
    return str(click.prompt(label, default="", show_default=False, prompt_suffix=""))


def ask_again(asked: Question, read: Callable[[], str]) -> str:
    while True:
        typed = read().strip()
        if typed.lower() == BACK:
            return BACK
        try:
            asked.value(typed)
        except ValueError as error:
            say(complaint(error))
        else:
            return typed


def ask_live(asked: Question, number: int, look: Callable[[], Sequence[str]]) -> str:
    say(screen(asked, number))
    with live_lines() as draw:
        return ask_again(asked, lambda: _edit(prompt(asked), look, draw))


def _edit(label: str, look: Callable[[], Sequence[str]], draw: Draw) -> str:
    typed = ""
    while True:
        draw([*look(), "", f"{label}{typed}"])
        for key in read_keys(1.0):
            if key in ("\r", "\n"):
                draw.done()
                return typed
            typed = typed[:-1] if key in _ERASE else typed + key if key.isprintable() else typed


def read_keys(seconds: float) -> str:
    """Those pressed within that time, at once. click.Abort at Ctrl-C, EOFError without a terminal."""
    if _told_to_leave.is_set():
        sys.exit(1)
    keyboard = sys.stdin.fileno()
    if not select.select([keyboard], [], [], seconds)[0]:
        return ""
    raw = os.read(keyboard, 100)
    keys = raw.decode(errors="replace")
    if not raw:
        raise EOFError
    if _INTERRUPT in keys or _END in keys:
        raise click.Abort
    return keys


class Draw:
    """Lines that replace those of the time before; on a terminal that cannot do that they are printed at
    times only, and whole lines of keys come without being shown."""

    def __init__(self) -> None:
        self._height = 0
        self._dumb = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
        self._drawn = 0

    def __call__(self, lines: Sequence[str]) -> None:
        if self._dumb:
            self._drawn += 1
            if self._drawn % 10 == 2:
                sys.stdout.write("\r\n".join(lines) + "\r\n")
        else:
            up = f"\x1b[{self._height - 1}A" if self._height > 1 else ""
            sys.stdout.write(f"\r{up}" + "\x1b[K\r\n".join(lines) + "\x1b[K")
            self._height = len(lines)
        sys.stdout.flush()

    def done(self) -> None:
        """What comes next comes below."""
        sys.stdout.write("\r\n")
        sys.stdout.flush()
        self._height = self._drawn = 0


@contextmanager
def live_lines() -> Iterator[Draw]:
    """Keys come one by one and are not shown; Ctrl-C is a key."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard, termios.TCSAFLUSH)
        _output_as_usual(keyboard)
        yield Draw()
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)


def _output_as_usual(keyboard: int) -> None:
    settings = termios.tcgetattr(keyboard)
    settings[1] |= termios.OPOST
    termios.tcsetattr(keyboard, termios.TCSANOW, settings)
