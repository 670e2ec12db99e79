"""A wait that a signal ends: for commands that run until they are stopped."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType, TracebackType
from typing import Any, Self


class StopSignals:
    """Turns SIGINT and SIGTERM into a request to stop, which also ends a wait that is under way."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._former_fd = signal.set_wakeup_fd(self._writer.fileno())
        self._former: dict[int, Any] = {
            number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former_fd)
        self._reader.close()
        self._writer.close()

    def wait(self, readable: int | None, seconds: float) -> bool:
        """Until a signal, the end of `seconds`, or (True) the descriptor `readable` has something to read."""
        poll = select.poll()
        if readable is not None:
            poll.register(readable, select.POLLIN)
        poll.register(self._reader, select.POLLIN)
        return any(ready == readable for ready, _ in poll.poll(max(seconds, 0) * 1000))

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
