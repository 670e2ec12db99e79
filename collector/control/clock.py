"""Whether this machine's clock is right, as the kernel has it: the times of calls are no better."""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass

from collector.errors import HostError

# struct timex, linux/timex.h, up to `stbcnt`, with the padding of a C compiler; 0 in `modes` only reads.
_TIMEX = struct.Struct("@I 4l i 3l 2l 3l i 5l")
_SIZE = 256  # bytes; the struct has 208, and room for more
_OFFSET, _MAXERROR, _ESTERROR, _STATUS = 1, 3, 4, 5  # fields
_STA_UNSYNC, _STA_NANO = 0x0040, 0x2000
_TIME_ERROR = 5
_MICRO, _NANO = 1e-6, 1e-9


@dataclass(frozen=True)
class Clock:
    """Seconds. `offset_seconds`: what is still to be corrected, under a daemon that lets the kernel do it."""

    synchronized: bool
    estimated_error_seconds: float
    maximum_error_seconds: float
    offset_seconds: float


def read_clock() -> Clock:
    """adjtimex(2), which here only reads, and needs no privilege. Raises HostError where it is forbidden."""
    timex = ctypes.create_string_buffer(_SIZE)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    if state < 0:
        why = os.strerror(ctypes.get_errno())
        raise HostError(
            f"The kernel does not say whether the clock is right: adjtimex: {why}",
            "ProtectClock= in a systemd unit forbids the question; take CAP_SYS_TIME away instead.",
        )
    return decode(state, timex.raw)


def decode(state: int, timex: bytes) -> Clock:
    fields = _TIMEX.unpack_from(timex)
    status = fields[_STATUS]
    return Clock(
        synchronized=state != _TIME_ERROR and not status & _STA_UNSYNC,
        estimated_error_seconds=fields[_ESTERROR] * _MICRO,
        maximum_error_seconds=fields[_MAXERROR] * _MICRO,
        offset_seconds=fields[_OFFSET] * (_NANO if status & _STA_NANO else _MICRO),
    )
