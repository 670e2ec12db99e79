"""Errors that an administrator can mend. Anything else is our bug and shows its traceback."""

from __future__ import annotations


class CollectorError(Exception):
    """What is wrong and where, in one sentence; `hint` says what to do about it.

    `exit_code` is what the command line leaves with (design: 1 the host, 2 the user's input).
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  {self.hint}" if self.hint else self.what


class HostError(CollectorError):
    """The host refused, lacks something, or is not healthy."""

    exit_code = 1


class InputError(CollectorError):
    """The user's file or arguments are wrong; nothing was changed."""

    exit_code = 2
