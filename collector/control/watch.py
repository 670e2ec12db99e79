"""Rings when something changes in this network namespace that a plan may depend on.

It only says that something happened: what is true now is read anew, so that a lost message costs nothing.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

from collector.datapath.settings import Address

# RTNLGRP_* of linux/rtnetlink.h: links, neighbours, tc; of IPv4 and IPv6 addresses, routes and rules.
_GROUPS = (1, 3, 4, 5, 7, 8, 9, 11, 19)
_HEADER = struct.Struct("=IHHII")
_RTM_NEWNEIGH, _RTM_DELNEIGH = 28, 29
_NDMSG_SIZE = 12
_NDA_DST = 1
_ATTRIBUTE = struct.Struct("=HH")
_LARGEST = 65536
_MOST_AT_ONCE = 1000  # so that a flood does not keep the agent from everything else
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1


class Doorbell:
    """`fileno` is readable when there is something to `rang`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._socket.bind((0, 0))
        for group in _GROUPS:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def rang(self, neighbour: Address | None) -> bool:
        """Empties the queue. Neighbours come and go all day: only `neighbour` going is worth a look."""
        rings = False
        for _ in range(_MOST_AT_ONCE):
            messages = self._receive()
            if messages is None:
                break
            rings |= not messages or any(_matters(*each, neighbour) for each in _split(messages))
        return rings

    def _receive(self) -> bytes | None:
        """None when there is no more; nothing where messages were lost."""
        try:
            return self._socket.recv(_LARGEST)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return b""
            raise


def _split(messages: bytes) -> Iterator[tuple[int, bytes]]:
    while len(messages) >= _HEADER.size:
        size, kind, *_ = _HEADER.unpack_from(messages)
        if size < _HEADER.size:
            return
        yield kind, messages[_HEADER.size : size]
        messages = messages[(size + 3) & ~3 :]


def _matters(kind: int, body: bytes, neighbour: Address | None) -> bool:
    if kind == _RTM_NEWNEIGH:
        return False
    return kind != _RTM_DELNEIGH or (neighbour is not None and neighbour.packed in _destinations(body))


def _destinations(body: bytes) -> Iterator[bytes]:
    attributes = body[_NDMSG_SIZE:]
    while len(attributes) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(attributes)
        if size < _ATTRIBUTE.size:
            return
        if kind == _NDA_DST:
            yield attributes[_ATTRIBUTE.size : size]
        attributes = attributes[(size + 3) & ~3 :]
