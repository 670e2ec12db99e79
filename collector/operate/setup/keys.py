"""SSH public keys: what one must look like, and where it goes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from collector.errors import HostError

LEAST_RSA_BITS = 2048
# How many fields follow the kind's name in the key itself (RFC 4253, 5656 and 8709, OpenSSH's PROTOCOL.u2f).
KINDS = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}  # fmt: skip


@dataclass(frozen=True)
class PublicKey:
    kind: str
    content: str  # base64
    comment: str = ""

    @property
    def line(self) -> str:
        return " ".join(filter(None, (self.kind, self.content, self.comment)))

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        digest = hashlib.sha256(base64.b64decode(self.content)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def parse_key(text: str) -> PublicKey:
    """ValueError in words."""
    if "PRIVATE KEY" in text:
        raise ValueError("this is a private key, which nobody should see; paste the one that ends in .pub")
    kind, _, rest = text.strip().partition(" ")
    content, _, comment = rest.strip().partition(" ")
    if kind == "ssh-dss":
        raise ValueError("DSA keys are too weak, and SSH takes them no more; use an Ed25519 key")
    if kind not in KINDS or not content:
        raise ValueError(
            "this is no SSH public key; paste the one line of a file such as id_ed25519.pub, "
            "which begins with ssh-ed25519, ecdsa-sha2- or ssh-rsa"
        )
    if not comment.isprintable():
        raise ValueError("there are unprintable characters behind the key; paste its one line only")
    _require_whole(kind, content)
    return PublicKey(kind, content, comment.strip())


def _require_whole(kind: str, content: str) -> None:
    broken = ValueError("this key is cut short or damaged; copy the whole line and paste it again")
    try:
        raw = base64.b64decode(content, validate=True)
        named, *fields = _fields(raw)
    except (binascii.Error, ValueError):
        raise broken from None
    if (
        base64.b64encode(raw).decode() != content
        or named != kind.encode()
        or len(fields) != KINDS[kind]
        or not all(fields)
    ):
        raise broken
    if kind == "ssh-ed25519" and len(fields[0]) != 32:
        raise broken
    bits = int.from_bytes(fields[-1]).bit_length()
    if kind == "ssh-rsa" and bits < LEAST_RSA_BITS:
        raise ValueError(f"this RSA key has {bits} bits only; use one of {LEAST_RSA_BITS}, or Ed25519")


def _fields(raw: bytes) -> Iterator[bytes]:
    """Each has its length in front (RFC 4251, section 5, `string`)."""
    while raw:
        length = int.from_bytes(raw[:4])
        if len(raw) < 4 + length:
            raise ValueError("cut short")
        yield raw[4 : 4 + length]
        raw = raw[4 + length :]


def add_key(user: str, key: PublicKey) -> bool:
    """Appends it to the user's authorized_keys; False where it is there already."""
    account = pwd.getpwnam(user)
    file = Path(account.pw_dir) / ".ssh" / "authorized_keys"
    try:
        with _acting_as(account):
            file.parent.mkdir(mode=0o700, exist_ok=True)
            return _append(file, key)
    except OSError as error:
        raise HostError(
            f"the SSH key cannot be written to {file}: {error.strerror}",
            f"Who owns it? ls -ld {file}",
        ) from None


@contextmanager
def _acting_as(account: pwd.struct_passwd) -> Iterator[None]:
    """What is in a user's folder is written with the user's rights: a link there leads root nowhere."""
    user, group, groups = os.geteuid(), os.getegid(), os.getgroups()
    try:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setegid(account.pw_gid)
        os.seteuid(account.pw_uid)
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)
        os.setgroups(groups)


def _append(file: Path, key: PublicKey) -> bool:
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "r+") as keys:
        text = keys.read()
        if any(line.split()[:2] == [key.kind, key.content] for line in text.splitlines()):
            return False
        keys.write(("" if not text or text.endswith("\n") else "\n") + key.line + "\n")
        keys.flush()
        os.fsync(handle)
    return True
