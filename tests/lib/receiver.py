"""A t-meter that takes what comes, so that its kernel sends no ICMP error back."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from collector.operate.lab import Namespace


@contextmanager
def listening(machine: Namespace, port: int = 4789) -> Iterator[None]:
    with machine.enter():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver:
        receiver.bind(("", port))
        yield
