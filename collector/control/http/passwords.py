"""Users and their bcrypt hashes, checked so that neither time nor work tells or costs much."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Mapping

import bcrypt

MOST_BYTES = 72  # bcrypt reads no more of a password
REST = 4  # after a wrong password, as a multiple of the work it made: a fifth of one CPU at most


class Passwords:
    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()
        cost = max((int(each[4:6]) for each in users.values()), default=4)
        # Nobody's: an unknown user takes as long as a known one.
        self._nobody = bcrypt.gensalt(cost) + b"." * 31
        self._rest_until = 0.0

    def __bool__(self) -> bool:
        return bool(self._users)

    @property
    def rest(self) -> float:
        """Seconds to wait before the next `verify`."""
        return max(0.0, self._rest_until - time.monotonic())

    def is_known(self, user: str, password: bytes) -> bool:
        """Whether it has been verified before; takes no time."""
        return self._digest(user, password) in self._right

    def verify(self, user: str, password: bytes) -> bool:
        """Takes the time of one bcrypt hash."""
        started = time.monotonic()
        hashed = self._users.get(user)
        fits = bcrypt.checkpw(password[:MOST_BYTES], hashed.encode() if hashed else self._nobody)
        if fits and hashed:
            self._right.add(self._digest(user, password))
            return True
        now = time.monotonic()
        self._rest_until = now + REST * (now - started)
        return False

    def _digest(self, user: str, password: bytes) -> bytes:
        """Without the key nobody can find the password from it."""
        name = user.encode("utf-8", "surrogateescape")
        message = b"%d:%b%b" % (len(name), name, password[:MOST_BYTES])
        return hmac.digest(self._key, message, "sha256")


def credentials(authorization: str) -> tuple[str, bytes] | None:
    """User and password of an Authorization header; None if it is not of the Basic kind (RFC 7617)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        return None
    user, colon, password = decoded.partition(b":")
    return (user.decode("utf-8", "surrogateescape"), password) if colon else None
