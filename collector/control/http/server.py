"""The HTTP server of `metrics.listen`, in a thread of its own: who calls it never waits for a client."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from collector.control.http.clients import Clients, Counts
from collector.control.http.exchange import Page
from collector.control.http.site import Site
from collector.control.http.webconfig import Web, WebConfig
from collector.errors import HostError

__all__ = ["Counts", "Page", "Server"]

BACKLOG = 1024  # connections that the kernel keeps for us
PAUSE_SECONDS = 1.0  # when this process has no file descriptor left

_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

Address = tuple[str, int]


class Server:
    """Serves pages by path, and at `/` a list of them.

    Where the web configuration file asks for passwords, a page in `public` is answered without one too, but
    only with its status: load balancers cannot send passwords, and strangers need no details.
    """

    def __init__(
        self,
        listen: Sequence[Address],
        pages: Mapping[str, Callable[[], Page]],
        web_config: Path | None = None,
        public: Collection[str] = (),
    ) -> None:
        self._listen = tuple(listen)
        self._web_path = web_config
        self._web: WebConfig | None = None
        self._site = Site(pages, public)
        self._counts = Counts()
        self._clients = Clients(self._site, self._current_web, self._counts)
        self._sockets: dict[Address, socket.socket] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> Counts:
        self._counts.page_failures = self._site.failures
        return self._counts

    @property
    def problem(self) -> str:
        """What is wrong with the web configuration file, while what was right before goes on; or empty."""
        return self._web.problem if self._web else ""

    @property
    def listening(self) -> tuple[Address, ...]:
        return tuple(self._sockets)

    def start(self) -> None:
        """Listens where it does not listen yet.

        HostError: not on every address; the others are served, and it can be called again later.
        InputError: the web configuration file is wrong, and nothing is served.
        """
        if self._web_path and not self._web:
            self._web = WebConfig(self._web_path)
        refusals = [refusal for each in self._listen if (refusal := self._open(each))]
        if refusals:
            raise HostError("\n".join(each.what for each in refusals), refusals[0].hint)

    def stop(self) -> None:
        """Ends every connection. What a page still does is not waited for."""
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop = self._thread = self._web = None

    def _open(self, address: Address) -> HostError | None:
        if address in self._sockets:
            return None
        try:
            listening = _listening_socket(address, self._listen)
        except OSError as error:
            return _refusal(address, error)
        self._sockets[address] = listening
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._run, args=(self._loop,), name="http", daemon=True)
            self._thread.start()
        self._loop.call_soon_threadsafe(self._watch, self._loop, listening)
        return None

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        finally:
            for listening in self._sockets.values():
                loop.remove_reader(listening)
                listening.close()
            self._sockets.clear()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.wait(tasks) if tasks else asyncio.sleep(0))
            self._site.stop()
            loop.close()

    def _current_web(self) -> Web:
        return self._web.current() if self._web else Web()

    def _watch(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            loop.add_reader(listening, self._accept, loop, listening)

    def _accept(self, loop: asyncio.AbstractEventLoop, listening: socket.socket) -> None:
        try:
            sock, peer = listening.accept()
        except OSError as error:  # mostly: the client left while it waited
            if error.errno in _NO_DESCRIPTOR:
                loop.remove_reader(listening)
                loop.call_later(PAUSE_SECONDS, self._watch, loop, listening)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients.admit(sock, str(peer[0]))


def _listening_socket(address: Address, among: Sequence[Address]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] means every address of either kind, unless an IPv4 one is given beside it.
            apart = any(":" not in host and port == address[1] for host, port in among)
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, apart)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def _refusal(address: Address, error: OSError) -> HostError:
    host, port = address
    where = f"metrics.listen: [{host}]:{port}" if ":" in host else f"metrics.listen: {host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return HostError(
            f"{where}: port {port} is taken by another program",
            f"See which with: ss -tlnp 'sport = :{port}'. Stop it, or choose another port.",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return HostError(
            f"{where}: this host has no address {host}",
            "See its addresses with: ip address. Or listen on all of them: 0.0.0.0 or [::].",
        )
    if error.errno == errno.EACCES:
        return HostError(f"{where}: no permission for port {port}", "Choose a port above 1023.")
    return HostError(f"{where}: {error.strerror}", "Choose another address or port.")
