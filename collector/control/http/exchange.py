"""One HTTP request and one answer as bytes (RFC 9110, RFC 9112)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

PLAIN = "text/plain; charset=utf-8"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word, no secret
_REQUEST_LINE = re.compile(rf"({_TOKEN}) (?:https?://[^/?# ]*)?([/*?][!-~]*|(?= )) HTTP/1\.([01])")
_FIELD = re.compile(rf"({_TOKEN}):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(\.0*)?\s*(,|$)")


@dataclass(frozen=True)
class Page:
    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]  # names in lower case
    keep_alive: bool

    @property
    def takes_gzip(self) -> bool:
        accepted = self.headers.get("accept-encoding", "").lower()
        return "gzip" in accepted and not _NO_GZIP.search(accepted)


class Refused(Exception):  # noqa: N818 - an answer like others
    """Raised instead of answering with what was asked for."""

    def __init__(self, status: HTTPStatus, words: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(words)
        self.page = text(status, words, headers)


def text(status: HTTPStatus, words: str, headers: Mapping[str, str] | None = None) -> Page:
    return Page(status, PLAIN, f"{words}\n".encode(), headers or {})


def parse(head: bytes) -> Request:
    """`head`: up to the empty line, without it. Raises Refused."""
    first, *lines = head.decode("latin-1").split("\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if not line:
        raise Refused(HTTPStatus.BAD_REQUEST, "This is no HTTP/1.1 request.")
    method, target, minor = line.groups()
    headers = _headers(lines)
    if minor == "1" and "host" not in headers:
        raise Refused(HTTPStatus.BAD_REQUEST, "The request has no Host header.")
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise _refuse_body(method)
    options = [option.strip().lower() for option in headers.get("connection", "").split(",")]
    keep_alive = minor == "1" and "close" not in options
    return Request(method, target.partition("?")[0] or "/", headers, keep_alive)


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        name = found[1].lower() if found else ""
        # Twice would be a list; those that matter here are none, and programs disagree about which counts.
        if not found or (name in headers and name in {"host", "content-length", "authorization"}):
            raise Refused(HTTPStatus.BAD_REQUEST, "A header of the request cannot be read.")
        value = found[2].strip(" \t")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _refuse_body(method: str) -> Refused:
    if method in {"GET", "HEAD"}:
        return Refused(HTTPStatus.BAD_REQUEST, "The request has a body; nothing here takes one.")
    return not_allowed()


def not_allowed() -> Refused:
    words = "Pages here can only be read: use GET or HEAD."
    return Refused(HTTPStatus.METHOD_NOT_ALLOWED, words, {"Allow": "GET, HEAD"})


def head_of(page: Page, *, keep_alive: bool, extra: Mapping[str, str]) -> bytes:
    headers = {
        "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
        "Content-Type": page.content_type,
        "Content-Length": str(len(page.body)),
        "Connection": "keep-alive" if keep_alive else "close",
        **page.headers,
        **extra,
    }
    lines = [f"HTTP/1.1 {page.status:d} {HTTPStatus(page.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
