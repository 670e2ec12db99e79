"""The interarrival jitter of RFC 3550, section 6.4.1 and appendix A.8."""

from __future__ import annotations

# A clock that jumps by more seconds than this was set anew: what lies between is no jitter.
JUMP = 10.0


class Jitter:
    """All in seconds. `most` and `mean` are of the estimates, one for each packet after the first."""

    __slots__ = ("_count", "_total", "most", "now", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.now = self.most = self._total = 0.0
        self._count = 0

    def add(self, arrival_ns: int, step: int) -> None:
        """How much later than the packet before it a packet came, and how much further its timestamp is."""
        difference = abs(arrival_ns / 1e9 - step / self.rate)
        if difference > JUMP:
            return
        self.now += (difference - self.now) / 16
        self._total += self.now
        self._count += 1
        self.most = max(self.most, self.now)

    @property
    def mean(self) -> float:
        return self._total / self._count if self._count else 0.0
