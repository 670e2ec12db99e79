"""One client's socket, plain or TLS. Every wait is for the client, and ends when its task is cancelled."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from collector.control.http.exchange import Refused

MOST_HEAD = 8192  # bytes of a request, without a body
MOST_DRAINED = 1 << 18
CHUNK = 1 << 16

_TLS_HANDSHAKE = 0x16  # the first byte of every TLS connection (RFC 8446, 5.1)

T = TypeVar("T")


class Connection:
    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        self.busy = False  # waits for us, not we for the client
        self.received = bytearray()
        self._socket = sock

    async def secure(self, context: ssl.SSLContext) -> None:
        """The TLS handshake. Raises Refused, to be answered without TLS, and ssl.SSLError."""
        first = await self._retry(lambda: self._socket.recv(1, socket.MSG_PEEK))
        if first and first[0] != _TLS_HANDSHAKE:
            raise Refused(HTTPStatus.BAD_REQUEST, "This port speaks HTTPS: write https://")
        secured = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
        self._socket = secured
        await self._retry(secured.do_handshake)

    def certificate_names(self) -> set[str]:
        """The subject alternative names of the client's verified certificate."""
        found = self._socket.getpeercert() if isinstance(self._socket, ssl.SSLSocket) else None
        alternatives: Any = (found or {}).get("subjectAltName", ())
        return {_plain_name(kind, name) for kind, name in alternatives}

    async def receive(self) -> bool:
        """More bytes into `received`; False at the end."""
        data = await self._retry(lambda: self._socket.recv(CHUNK if not self.received else MOST_HEAD))
        self.received += data
        return bool(data)

    async def head(self) -> bytes:
        """The next request, up to its empty line; Refused, or EOFError where the client left."""
        while (end := self.received.find(b"\r\n\r\n")) < 0:
            if len(self.received) > MOST_HEAD:
                break
            if not await self.receive():
                raise EOFError
        if end < 0 or end > MOST_HEAD:
            words = f"The request is longer than {MOST_HEAD} bytes."
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, words)
        found = bytes(self.received[:end])
        del self.received[: end + 4]
        return found

    async def send(self, head: bytes, body: bytes) -> None:
        """The body is not copied: all who wait for one page share it."""
        await self._send(head + body[:CHUNK])
        await self._send(memoryview(body)[CHUNK:])

    async def _send(self, rest: bytes | memoryview) -> None:
        while rest:
            sent = await self._retry(partial(self._socket.send, rest[:CHUNK]), write=True)
            rest = rest[sent:]

    async def finish(self) -> None:
        """Takes what the client still sends: closing before would destroy the answer on its way."""
        self.received.clear()
        self._say_end()
        self._socket.shutdown(socket.SHUT_WR)
        for _ in range(MOST_DRAINED // CHUNK):
            if not await self._retry(lambda: self._socket.recv(CHUNK)):
                return

    def close(self) -> None:
        self._say_end()
        self._socket.close()

    def _say_end(self) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            with suppress(OSError, ValueError):  # it waits for the client's own end, which we do not
                self._socket.unwrap()

    async def _retry(self, attempt: Callable[[], T], *, write: bool = False) -> T:
        while True:
            try:
                return attempt()
            except ssl.SSLWantReadError:
                write = False
            except ssl.SSLWantWriteError:
                write = True
            except BlockingIOError:
                pass
            await _ready(self._socket.fileno(), write=write)


def _plain_name(kind: str, name: str) -> str:
    """OpenSSL writes IPv6 addresses in a way of its own."""
    return str(ipaddress.ip_address(name.strip())) if kind == "IP Address" else name


async def _ready(descriptor: int, *, write: bool) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    add(descriptor, _settle, ready)
    try:
        await ready
    finally:
        remove(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
