"""Follows the sequence numbers of an RTP stream: after RFC 3550, appendix A.1, with duplicates told apart."""

from __future__ import annotations

# RFC 3550: a number further ahead, or further behind, does not belong to the sequence.
MAX_DROPOUT = 3000
MAX_MISORDER = 100

_NUMBERS = 1 << 16
_REMEMBERED = (1 << MAX_MISORDER + 1) - 1


class Sequence:
    """`strays` are packets far outside of the sequence; two in a row make a restart of the sender.

    `out_of_order` ones came after one with a higher number. `duplicates` came before already.
    """

    __slots__ = (
        "_before", "_highest", "_lowest", "_seen", "_stray",
        "duplicates", "out_of_order", "received", "restarts", "strays",
    )  # fmt: skip

    def __init__(self) -> None:
        self.received = self.out_of_order = self.duplicates = self.strays = self.restarts = 0
        self._before = 0  # packets that should have come before the last restart
        self._highest = self._lowest = 0  # counted on where the number wraps around
        self._seen = 0  # bit n: the number _highest - n has come
        self._stray: int | None = None

    @property
    def lost(self) -> int:
        return self._before + self._span - self.received

    @property
    def expected(self) -> int:
        return self._before + self._span

    @property
    def _span(self) -> int:
        return self._highest - self._lowest + 1 if self._seen else 0

    def add(self, number: int) -> bool:
        """True if it is new and in the sequence."""
        if not self._seen:
            self._begin(number)
            self.received = 1
            return True
        ahead = (number - self._highest) % _NUMBERS
        if 0 < ahead < MAX_DROPOUT:
            self._highest += ahead
            self._seen = (self._seen << ahead | 1) & _REMEMBERED
            self.received += 1
            self._stray = None
            return True
        if -ahead % _NUMBERS <= MAX_MISORDER:
            return self._come_late(-ahead % _NUMBERS)
        return self._stray_or_restart(number)

    def _begin(self, number: int) -> None:
        self._highest = self._lowest = number
        self._seen = 1

    def _come_late(self, behind: int) -> bool:
        if self._seen >> behind & 1:
            self.duplicates += 1
            return False
        self._seen |= 1 << behind
        self._lowest = min(self._lowest, self._highest - behind)
        self.received += 1
        self.out_of_order += 1
        return True

    def _stray_or_restart(self, number: int) -> bool:
        if number == self._stray:
            self.duplicates += 1
            return False
        if self._stray is None or number != (self._stray + 1) % _NUMBERS:
            self._stray = number
            self.strays += 1
            return False
        self._before = self.expected
        self._begin(number)
        self._lowest, self._seen, self._stray = number - 1, 0b11, None
        self.received += 2
        self.strays -= 1
        self.restarts += 1
        return True
