"""Work that may be slow, done one piece after the other in a thread that no exit waits for."""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from queue import SimpleQueue
from typing import TypeVar

from collector.control.http.exchange import Page, Refused, text

MOST_WAITING = 16
WORTH_PACKING = 1400  # bytes: less goes in one packet anyway

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


class Worker:
    """Its thread begins with the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._started = False

    async def call(self, function: Callable[[], T]) -> T:
        """What the function returns or raises. Cancelled while it waits, the function is not called."""
        future: Future[T] = Future()
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        self._work.put(partial(_carry_out, function, future))
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """Returns at once; the thread ends after what it does now."""
        self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _carry_out(function: Callable[[], T], future: Future[T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001 - whoever waits for the future gets it
        future.set_exception(error)


class PageWorker:
    """Makes one page, once at a time. Who asks while a run is still to begin shares that run."""

    def __init__(self, path: str, make: Callable[[], Page]) -> None:
        self.failures = 0
        self._path = path
        self._make = make
        self._worker = Worker(f"http {path}")
        self._running = asyncio.Lock()
        self._next: asyncio.Task[tuple[Page, Page]] | None = None
        self._waiting = 0

    def stop(self) -> None:
        self._worker.stop()

    async def run(self) -> tuple[Page, Page]:
        """The page as it is, and packed for who takes gzip."""
        if self._waiting >= MOST_WAITING:
            words = f"{self._path} is slow and too many wait for it; come again."
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, words, {"Retry-After": "5"})
        self._waiting += 1
        try:
            if self._next is None:
                self._next = asyncio.create_task(self._run())
            return await asyncio.shield(self._next)
        finally:
            self._waiting -= 1

    async def _run(self) -> tuple[Page, Page]:
        async with self._running:
            self._next = None
            run = asyncio.ensure_future(self._worker.call(self._both))
            await asyncio.wait([run])
            error = run.exception()
            if error is None:
                return run.result()
        self.failures += 1
        _LOG.error("the page %s failed: this is a bug of the collector", self._path, exc_info=error)
        words = f"{self._path} failed: a bug of the collector. Its log has more: journalctl -u collector"
        failed = text(HTTPStatus.INTERNAL_SERVER_ERROR, words)
        return failed, failed

    def _both(self) -> tuple[Page, Page]:
        page = self._make()
        if len(page.body) < WORTH_PACKING:
            return page, page
        headers = {**page.headers, "Vary": "Accept-Encoding"}
        packed = gzip.compress(page.body, compresslevel=1, mtime=0)
        return (
            replace(page, headers=headers),
            replace(page, headers={**headers, "Content-Encoding": "gzip"}, body=packed),
        )
