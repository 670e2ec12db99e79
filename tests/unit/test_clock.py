"""The kernel's word on the clock, as Linux lays it out on 64-bit machines."""

from __future__ import annotations

import ctypes
import struct

import pytest

from collector.control import clock
from collector.control.clock import Clock
from collector.errors import HostError

STA_PLL, STA_UNSYNC, STA_NANO = 0x0001, 0x0040, 0x2000


def timex(status: int, offset: int = 0) -> bytes:
    """modes, offset, freq, maxerror, esterror, status; the rest does not matter."""
    return struct.pack("=I4xqqqqi", 0, offset, 7, 500_000, 2_000, status).ljust(256, b"\0")


@pytest.mark.parametrize(
    ("state", "status", "expected"),
    [
        (0, STA_PLL, Clock(True, 0.002, 0.5, -0.0015)),
        (1, STA_PLL | STA_NANO, Clock(True, 0.002, 0.5, -1.5e-06)),
        (5, STA_UNSYNC, Clock(False, 0.002, 0.5, -0.0015)),
        (5, STA_PLL, Clock(False, 0.002, 0.5, -0.0015)),
        (0, STA_UNSYNC, Clock(False, 0.002, 0.5, -0.0015)),
    ],
)
def test_synchronised_unless_the_kernel_says_not(state: int, status: int, expected: Clock) -> None:
    found = clock.decode(state, timex(status, -1500))
    assert found.synchronized is expected.synchronized
    assert found.estimated_error_seconds == pytest.approx(expected.estimated_error_seconds)
    assert found.maximum_error_seconds == pytest.approx(expected.maximum_error_seconds)
    assert found.offset_seconds == pytest.approx(expected.offset_seconds)


def test_the_real_kernel_answers() -> None:
    found = clock.read_clock()
    assert found.maximum_error_seconds >= 0
    assert found.estimated_error_seconds >= 0


def test_a_sandbox_that_forbids_the_question_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden:
        @staticmethod
        def adjtimex(_: object) -> int:
            ctypes.set_errno(1)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Forbidden)
    with pytest.raises(HostError) as caught:
        clock.read_clock()
    assert str(caught.value) == (
        "The kernel does not say whether the clock is right: adjtimex: Operation not permitted\n"
        "  ProtectClock= in a systemd unit forbids the question; take CAP_SYS_TIME away instead."
    )
