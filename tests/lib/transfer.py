"""A file sent over TCP between two namespaces, and put together again from segments that were seen."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from threading import Thread

from collector.operate.lab import Namespace


def transfer(sender: Namespace, receiver: Namespace, address: str, port: int, content: bytes) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with receiver.enter():
        listening = socket.create_server((address, port), family=family)
    with listening:
        thread = Thread(target=_drain, args=(listening,))
        thread.start()
        with sender.enter():
            calling = socket.create_connection((address, port), timeout=10)
        with calling:
            calling.sendall(content)
        thread.join()


def _drain(listening: socket.socket) -> None:
    accepted, _ = listening.accept()
    with accepted:
        while accepted.recv(1 << 20):
            pass


def put_together(segments: Iterable[tuple[int, bool, bytes]]) -> bytes:
    """What one end said, as far as there is no hole. Of each segment: its sequence number, whether it is the
    first (SYN), its data."""
    longest: dict[int, bytes] = {}
    start = 0
    for sequence, syn, data in segments:
        if syn:
            start = sequence + 1
        else:
            longest[sequence] = max(longest.get(sequence, b""), data, key=len)
    said = bytearray()
    while more := longest.get((start + len(said)) % (1 << 32)):
        said += more
    return bytes(said)
