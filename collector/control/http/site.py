"""What the HTTP server answers to a request: the page, if there is one and if the client may have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus

from collector.control.http.exchange import Page, Refused, Request, not_allowed, text
from collector.control.http.passwords import Passwords, credentials
from collector.control.http.worker import PageWorker, Worker

MOST_CHECKS = 8  # that wait for each other

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="collector", charset="UTF-8"'}


class Site:
    """`public`: pages of which everyone may have the status, and the rest only who may have the others."""

    def __init__(self, pages: Mapping[str, Callable[[], Page]], public: Collection[str]) -> None:
        self._pages = {path: PageWorker(path, page) for path, page in pages.items()}
        self._public = frozenset(public)
        self._checker = Worker("http passwords")
        self._checking = asyncio.Lock()
        self._checks = 0

    @property
    def failures(self) -> int:
        return sum(page.failures for page in self._pages.values())

    def stop(self) -> None:
        for page in self._pages.values():
            page.stop()
        self._checker.stop()

    async def answer(self, request: Request, passwords: Passwords) -> Page:
        """Raises Refused."""
        if request.method not in {"GET", "HEAD"}:
            raise not_allowed()
        known = not passwords or await self._is_known(request, passwords)
        if not known and request.path not in self._public:
            raise _unauthorized("A user name and a password are needed here.")
        if request.path == "/":
            return text(HTTPStatus.OK, "\n".join(["The collector's pages:", *self._pages]))
        if request.path not in self._pages:
            words = f"There is no such page. The pages are: {', '.join(self._pages)}"
            raise Refused(HTTPStatus.NOT_FOUND, words)
        plain, packed = await self._pages[request.path].run()
        if not known:
            status = HTTPStatus(plain.status)
            return text(status, status.phrase)
        return packed if request.takes_gzip else plain

    async def _is_known(self, request: Request, passwords: Passwords) -> bool:
        """False if the client does not say who it is; Refused if it says so wrongly."""
        header = request.headers.get("authorization")
        if header is None:
            return False
        given = credentials(header)
        if given and (passwords.is_known(*given) or await self._check(given, passwords)):
            return True
        raise _unauthorized("The user name or the password is wrong.")

    async def _check(self, given: tuple[str, bytes], passwords: Passwords) -> bool:
        if self._checks >= MOST_CHECKS:
            words = "Too many passwords are being checked; come again."
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, words, {"Retry-After": "5"})
        self._checks += 1
        try:
            async with self._checking:
                if passwords.is_known(*given):  # by one who waited before
                    return True
                await asyncio.sleep(passwords.rest)
                return await self._checker.call(lambda: passwords.verify(*given))
        finally:
            self._checks -= 1


def _unauthorized(words: str) -> Refused:
    return Refused(HTTPStatus.UNAUTHORIZED, words, _CHALLENGE)
