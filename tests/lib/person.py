"""A person at a machine's serial console."""

from __future__ import annotations

import re

from tests.lib.console import MORE
from tests.lib.vm import Vm


class Person:
    """Reads what the serial console says, and types."""

    def __init__(self, vm: Vm) -> None:
        assert vm.console is not None
        self._vm, self._console, self._at = vm, vm.console, 0

    def expect(self, text: str) -> str:
        """Waits for the text, going on where it stops at the end of a screen; returns what led to it."""
        start = self._at
        while True:
            found = self._vm.wait_for(f"{re.escape(text)}|{re.escape(MORE)}", start=self._at)
            self._at = found.end()
            if found[0] == text:
                return self._console.text[start : found.start()]
            self.type("\r")

    def type(self, keys: str) -> None:
        self._console.say(keys.encode())

    def answer(self, prompt: str, keys: str = "") -> str:
        seen = self.expect(prompt)
        self.type(keys + "\r")
        return seen
