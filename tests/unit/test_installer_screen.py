"""The installer's two consoles: both show the same, and whoever types first is heard."""

from __future__ import annotations

import os
import pty
import select
import termios
from collections.abc import Iterator

import pytest

from iso.installer.screen import Screen


class Consoles:
    """Two, with the test at the other end of each."""

    def __init__(self) -> None:
        pairs = [pty.openpty() for _number in range(2)]
        self.ours = [ours for ours, _theirs in pairs]
        theirs = [each for _ours, each in pairs]
        for descriptor in theirs:
            mode = termios.tcgetattr(descriptor)
            mode[1] = 0
            mode[3] = termios.ICANON
            termios.tcsetattr(descriptor, termios.TCSANOW, mode)
        self.log = ""
        self.screen = Screen(theirs, self._note)

    def _note(self, text: str) -> None:
        self.log += text

    def shown(self, number: int) -> str:
        text = b""
        while select.select([self.ours[number]], [], [], 0)[0]:
            text += os.read(self.ours[number], 4096)
        return text.decode()

    def hang_up(self, number: int) -> None:
        os.close(self.ours.pop(number))

    def close(self) -> None:
        while self.ours:
            self.hang_up(0)


@pytest.fixture
def consoles() -> Iterator[Consoles]:
    both = Consoles()
    yield both
    both.close()


def test_both_show_it(consoles: Consoles) -> None:
    consoles.screen.say("Hello")
    assert [consoles.shown(0), consoles.shown(1), consoles.log] == ["Hello\n"] * 3


def test_what_is_typed_at_one_is_shown_at_the_other(consoles: Consoles) -> None:
    os.write(consoles.ours[1], b" erase \n")
    assert consoles.screen.ask("Word: ") == "erase"
    assert [consoles.shown(0), consoles.shown(1)] == ["Word:  erase \n", "Word: "]
    assert consoles.log == "Word:  erase \n"


def test_nobody_is_waited_for_when_something_else_comes(consoles: Consoles) -> None:
    assert consoles.screen.ask("Word: ", lambda: True) is None


def test_one_that_hangs_up_is_left_out(consoles: Consoles) -> None:
    consoles.hang_up(0)
    os.write(consoles.ours[0], b"yes\n")
    assert consoles.screen.ask("Go on? ") == "yes"
    consoles.screen.say("Good")
    assert consoles.shown(0) == "Go on? Good\n"


def test_a_bar_is_drawn_once_for_each_step(consoles: Consoles) -> None:
    for done in (0, 1, 500, 500, 1000):
        consoles.screen.progress("Writing", done, 1000)
    assert consoles.shown(0).split("\r")[1:] == [
        f"  Writing                [{'':40}]   0 %",
        f"  Writing                [{'#' * 20:40}]  50 %",
        f"  Writing                [{'#' * 40}] 100 %\n",
    ]
    assert consoles.log == "Writing: 1000 bytes\n"
