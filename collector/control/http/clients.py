"""The HTTP server's clients: so many at a time, so long each, whatever they send or do not send."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from collector.control.http.connection import Connection
from collector.control.http.exchange import Page, Refused, head_of, parse, text
from collector.control.http.site import Site
from collector.control.http.webconfig import Web

MOST_CONNECTIONS = 64
REQUEST_SECONDS = 5.0  # from its first byte, or from the connection, to the last byte of the answer
GRACE_SECONDS = 1.0  # more, for the words that say that it took too long
IDLE_SECONDS = 120.0  # between two requests of one connection

_TOO_SLOW = text(HTTPStatus.SERVICE_UNAVAILABLE, "The page took too long; come again.", {"Retry-After": "5"})
_NO_REQUEST = text(HTTPStatus.REQUEST_TIMEOUT, f"No whole request came in {REQUEST_SECONDS:.0f} seconds.")

_LOG = logging.getLogger(__name__)


@dataclass
class Counts:
    """`answers` by HTTP status; connections `evicted` for a newer one's sake; `turned_away` unheard."""

    answers: Counter[int] = field(default_factory=Counter)
    evicted: int = 0
    turned_away: int = 0
    failures: int = 0  # bugs of ours, outside of pages
    page_failures: int = 0  # in pages


class Clients:
    def __init__(self, site: Site, web: Callable[[], Web], counts: Counts) -> None:
        self._site = site
        self._web = web
        self._counts = counts
        self._tasks: dict[Connection, asyncio.Task[None]] = {}  # who was heard of last is last

    def admit(self, sock: socket.socket, peer: str) -> None:
        if len(self._tasks) >= MOST_CONNECTIONS and not self._evict():
            self._counts.turned_away += 1
            sock.close()
            return
        connection = Connection(sock, peer)
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks[connection] = task
        task.add_done_callback(partial(self._ended, connection))

    def _evict(self) -> bool:
        """Of those that we wait for: the one heard of longest ago, of the address that has most."""
        quiet = [each for each in self._tasks if not each.busy]
        if not quiet:
            return False
        having = Counter(each.peer for each in quiet)
        self._counts.evicted += 1
        self._tasks.pop(max(quiet, key=lambda each: having[each.peer])).cancel()
        return True

    def _ended(self, connection: Connection, task: asyncio.Task[None]) -> None:
        self._tasks.pop(connection, None)
        connection.close()
        error = None if task.cancelled() else task.exception()
        # What clients do to their own connections is no news: they leave, are slow, or speak no TLS.
        if error and not isinstance(error, OSError | EOFError):
            self._counts.failures += 1
            _LOG.error("answering %s failed: a bug of the collector", connection.peer, exc_info=error)

    async def _serve(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + REQUEST_SECONDS
        web = self._web()
        if web.tls:
            try:
                async with asyncio.timeout_at(deadline):
                    await _secure(connection, web.tls, web)
            except Refused as refusal:
                await self._send(connection, refusal.page, deadline)
                return
        while await self._exchange(connection, deadline):
            async with asyncio.timeout(IDLE_SECONDS):
                if not connection.received and not await connection.receive():
                    return
            self._tasks[connection] = self._tasks.pop(connection)
            deadline = now() + REQUEST_SECONDS

    async def _exchange(self, connection: Connection, deadline: float) -> bool:
        """One request and its answer; whether another may follow."""
        web = self._web()
        head_only = keep_alive = False
        try:
            async with asyncio.timeout_at(deadline):
                request = parse(await connection.head())
                head_only = request.method == "HEAD"
                connection.busy = True
                page = await self._site.answer(request, web.passwords)
                keep_alive = request.keep_alive
        except Refused as refusal:
            page = refusal.page
        except TimeoutError:
            page = _TOO_SLOW if connection.busy else _NO_REQUEST
        finally:
            connection.busy = False
        await self._send(connection, page, deadline, web, head_only=head_only, keep_alive=keep_alive)
        return keep_alive

    async def _send(
        self,
        connection: Connection,
        page: Page,
        deadline: float,
        web: Web = Web(),  # noqa: B008 - frozen
        *,
        head_only: bool = False,
        keep_alive: bool = False,
    ) -> None:
        self._counts.answers[page.status] += 1
        head = head_of(page, keep_alive=keep_alive, extra=web.headers)
        async with asyncio.timeout_at(deadline + GRACE_SECONDS):
            await connection.send(head, b"" if head_only else page.body)
            if not keep_alive:
                await connection.finish()


async def _secure(connection: Connection, context: ssl.SSLContext, web: Web) -> None:
    await connection.secure(context)
    if web.names and not web.names & connection.certificate_names():
        words = "Your certificate has none of the names that are allowed here (client_allowed_sans)."
        raise Refused(HTTPStatus.FORBIDDEN, words)
