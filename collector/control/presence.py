"""One agent an instance; commands find it here, to tell it that they have changed something."""

from __future__ import annotations

import errno
import os
import socket
import struct

from collector.errors import HostError

_CREDENTIALS = struct.Struct("iII")  # struct ucred: process, user, group


class Presence:
    """`fileno` is readable when somebody calls. HostError where an agent runs already."""

    def __init__(self, instance: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind(_name(instance))
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            raise HostError(
                f"an agent runs already for the instance {instance} (process {call(instance)})",
                "One is enough. To restart it: systemctl restart collector",
            ) from None
        self._socket.listen(16)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def called(self) -> bool:
        """By root: what others say does not count."""
        rang = False
        while (caller := self._accept()) is not None:
            with caller:
                rang |= _peer(caller)[1] == os.geteuid()
        return rang

    def _accept(self) -> socket.socket | None:
        try:
            return self._socket.accept()[0]
        except BlockingIOError:
            return None


def call(instance: str) -> int | None:
    """Has the agent look at once; its process id, or None where there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as calling:
        try:
            calling.connect(_name(instance))
        except (ConnectionRefusedError, BlockingIOError):  # no agent; one that has been called often enough
            return None
        return _peer(calling)[0]


def _name(instance: str) -> str:
    """An abstract one: it goes with the process, and each network namespace has its own."""
    return f"\0collector-agent-{instance}"


def _peer(connected: socket.socket) -> tuple[int, int, int]:
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, group = _CREDENTIALS.unpack(raw)
    return process, user, group
