"""A host's own traffic, which a collector on the same NIC must leave alone."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from collector.operate.lab import Namespace

ECHO_REQUEST, ECHO_REPLY = 8, 0
SSH = 22


@contextmanager
def connection(
    client: Namespace, server: Namespace, address: str
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """An open TCP connection: the client's end and the server's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.enter():
        listening = socket.create_server((address, SSH), family=family)
    with listening:
        with client.enter():
            calling = socket.create_connection((address, SSH), timeout=5)
        with calling:
            accepted, _ = listening.accept()
            with accepted:
                accepted.settimeout(5)
                yield calling, accepted


def exchange(ends: tuple[socket.socket, socket.socket], text: bytes) -> bool:
    """Whether the connection carries `text` there and back."""
    calling, accepted = ends
    calling.sendall(text)
    heard = _receive(accepted, len(text))
    accepted.sendall(heard)
    return heard == _receive(calling, len(text)) == text


def conversation(client: Namespace, server: Namespace, address: str, text: bytes) -> bool:
    """Whether a TCP connection comes to be and carries `text` there and back."""
    with connection(client, server, address) as ends:
        return exchange(ends, text)


def _receive(connection: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count:
        received += connection.recv(count - len(received))
    return bytes(received)


def pings(client: Namespace, address: str) -> bool:
    request = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, os.getpid() & 0xFFFF, 1)
    checksum = ~sum(struct.unpack("!4H", request)) & 0xFFFF
    with client.enter():
        pinging = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with pinging:
        pinging.settimeout(5)
        pinging.sendto(request[:2] + struct.pack("!H", checksum) + request[4:], (address, 0))
        return any(pinging.recv(1500)[20] == ECHO_REPLY for _ in range(5))


def broadcast_arrives(client: Namespace, server: Namespace) -> bool:
    with server.enter():
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with client.enter():
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listening, asking:
        listening.bind(("0.0.0.0", 68))
        listening.settimeout(5)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        asking.sendto(b"offer", ("255.255.255.255", 68))
        return listening.recv(100) == b"offer"
