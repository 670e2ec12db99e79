"""The web configuration file of the Prometheus exporters' kind: TLS, headers and passwords for HTTP."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from collector.control import document as words
from collector.control.config import read_file
from collector.control.document import Document, show
from collector.control.document import Path as Keys
from collector.control.http.certificates import CIPHER_SUITES, NoTls, server_context
from collector.control.http.passwords import Passwords
from collector.errors import InputError

MOST_COST = 14  # 2^14 rounds take about a second: a scrape does not wait longer
MOST_SESSIONS = 500  # that OpenSSL may remember, for clients of TLS 1.2

_BCRYPT = r"\$2[aby]\$(0[4-9]|1[0-9]|2[0-9]|3[01])\$[./A-Za-z0-9]{53}"
_LOG = logging.getLogger(__name__)

_WEAK = "takes any certificate, so it proves nothing; write RequireAndVerifyClientCert"
_REFUSED_VALUES = {
    "RequestClientCert": _WEAK,
    "RequireAnyClientCert": _WEAK,
    "RequireClientCert": _WEAK,
    "TLS10": "is broken; use TLS12 or TLS13",
    "TLS11": "is broken; use TLS12 or TLS13",
}
# Keys that other programs know.
_UNSUPPORTED = {
    "cert": "is read from a file only; write cert_file",
    "key": "is read from a file only; write key_file",
    "client_ca": "is read from a file only; write client_ca_file",
    "curve_preferences": "cannot be chosen here; remove it",
    "rate_limit": "is not needed: requests never wait for each other; remove it",
}


def _refuse_weak(value: object) -> object:
    if isinstance(value, str) and value in _REFUSED_VALUES:
        raise ValueError(f"{value} {_REFUSED_VALUES[value]}")
    return value


def _file_name(value: str) -> str:
    if not value:
        raise ValueError("this names no file; write one, or remove the key")
    return value


def _suite(name: str) -> str:
    if name not in CIPHER_SUITES:
        close = get_close_matches(name[:60], CIPHER_SUITES, n=1, cutoff=0)
        raise ValueError(f"{show(name)} is not known; did you mean '{close[0]}'?")
    return name


def _header(value: str) -> str:
    if not re.fullmatch(r"[\x20-\x7e]*", value):
        raise ValueError("a header takes plain ASCII on one line only; remove other characters")
    return value


def _users(value: object) -> object:
    if not isinstance(value, dict):
        raise ValueError("this is no map; write lines such as alice: '$2y$10$...'")
    if not value:
        raise ValueError("it names nobody; add a user, or remove the key")
    return value


def _user(name: object) -> object:
    if not isinstance(name, str) or not name or ":" in name:
        raise ValueError(f"{show(name)} cannot be a user's name; use a text without ':'")
    return name


def _hash(value: object) -> object:
    """Never shown: it may be a password that was not hashed."""
    if not isinstance(value, str) or not re.fullmatch(_BCRYPT, value):
        raise ValueError("this is no bcrypt hash; make one with: htpasswd -nBC 10 NAME")
    if int(value[4:6]) > MOST_COST:
        raise ValueError(f"the cost {value[4:6]} takes too long; make the hash with 4 to {MOST_COST}")
    return value


Text = Annotated[str, Field(strict=True)]
FileName = Annotated[str, Field(strict=True), AfterValidator(_file_name)]
Flag = Annotated[bool, Field(strict=True)]
Version = Annotated[Literal["TLS12", "TLS13"], BeforeValidator(_refuse_weak)]
ClientAuth = Annotated[
    Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"],
    BeforeValidator(_refuse_weak),
]
HeaderText = Annotated[str, Field(strict=True), AfterValidator(_header)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Model):
    cert_file: FileName
    key_file: FileName
    client_auth_type: ClientAuth = "NoClientCert"
    client_ca_file: FileName = ""
    client_allowed_sans: tuple[Text, ...] = ()
    min_version: Version = "TLS12"
    max_version: Version = "TLS13"
    cipher_suites: tuple[Annotated[Text, AfterValidator(_suite)], ...] = ()
    prefer_server_cipher_suites: Flag = True


class Headers(_Model):
    csp: HeaderText = Field("", alias="Content-Security-Policy")
    frame: Literal["", "deny", "sameorigin"] = Field("", alias="X-Frame-Options")
    sniff: Literal["", "nosniff"] = Field("", alias="X-Content-Type-Options")
    xss: HeaderText = Field("", alias="X-XSS-Protection")
    hsts: HeaderText = Field("", alias="Strict-Transport-Security")


class Http(_Model):
    http2: Flag = True  # allowed, not demanded: HTTP/1.1 is what this server speaks
    headers: Headers = Headers()


class WebFile(_Model):
    tls_server_config: Tls | None = None
    http_server_config: Http = Http()
    basic_auth_users: Annotated[
        dict[Annotated[str, BeforeValidator(_user)], Annotated[str, BeforeValidator(_hash)]],
        BeforeValidator(_users),
    ] = {}


@dataclass(frozen=True)
class Web:
    """How the server talks to clients; Web() is plain HTTP for everyone."""

    tls: ssl.SSLContext | None = None
    names: frozenset[str] = frozenset()  # of client certificates, one of which is needed; empty: any
    headers: Mapping[str, str] = field(default_factory=dict)
    passwords: Passwords = field(default_factory=lambda: Passwords({}))
    files: tuple[Path, ...] = ()


def load_web(path: Path) -> Web:
    """Raises InputError, a line for each problem."""
    document = read_file(path, "with metrics.web_config")
    if not document.problems and document.data in (None, {}):
        document.complain(
            (), "the file is empty, so it protects nothing; fill it or remove metrics.web_config"
        )
    found = None if document.problems else _validate(document)
    web = None if found is None or document.problems else _web(found, path, document)
    if web is None or document.problems:
        raise document.error(str(path))
    return web


def _validate(document: Document) -> WebFile | None:
    try:
        return WebFile.model_validate(document.data)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            at_key = found["type"] in words.KEY_WORDS or found["loc"][-1:] == ("[key]",)
            path = tuple(part for part in found["loc"] if part != "[key]")
            said = _unsupported(path) if found["type"] == "extra_forbidden" else ""
            said = said or words.explain(found, _known(path), {})
            document.complain(path, said, document.keys.get(path) if at_key else None)
        return None


def _unsupported(path: Keys) -> str:
    return _UNSUPPORTED.get(str(path[-1]), "")


def _known(path: Keys) -> list[str]:
    model: dict[Keys, type[BaseModel]] = {
        ("tls_server_config",): Tls,
        ("http_server_config",): Http,
        ("http_server_config", "headers"): Headers,
    }
    fields = model.get(path[:-1], WebFile).model_fields
    return [str(field.alias or name) for name, field in fields.items()]


def _web(found: WebFile, path: Path, document: Document) -> Web:
    tls = found.tls_server_config
    files = _files(tls, path.parent) if tls else {}
    given = found.http_server_config.headers.model_dump(by_alias=True)
    return Web(
        tls=_context(tls, files, document) if tls else None,
        names=frozenset(tls.client_allowed_sans if tls else ()),
        headers={name: value for name, value in given.items() if value},
        passwords=Passwords(found.basic_auth_users),
        files=(path, *files.values()),
    )


def _files(tls: Tls, folder: Path) -> dict[str, Path]:
    named = {"cert_file": tls.cert_file, "key_file": tls.key_file, "client_ca_file": tls.client_ca_file}
    return {key: folder / name for key, name in named.items() if name}


def _context(tls: Tls, files: dict[str, Path], document: Document) -> ssl.SSLContext | None:
    for key, said in _contradictions(tls):
        document.complain(("tls_server_config", key), said)
    try:
        return server_context(tls.model_dump(), files)
    except NoTls as refusal:
        document.complain(("tls_server_config", refusal.key), str(refusal))
        return None


def _contradictions(tls: Tls) -> Iterator[tuple[str, str]]:
    if tls.client_auth_type != "NoClientCert" and not tls.client_ca_file:
        yield "client_auth_type", "needs the CA that signs the clients' certificates; add client_ca_file"
    if tls.client_auth_type == "NoClientCert" and tls.client_ca_file:
        yield (
            "client_ca_file",
            "does nothing by itself; add client_auth_type: RequireAndVerifyClientCert",
        )
    if tls.client_auth_type != "RequireAndVerifyClientCert" and tls.client_allowed_sans:
        yield (
            "client_allowed_sans",
            "needs a certificate of every client; write client_auth_type: RequireAndVerifyClientCert",
        )
    if tls.max_version < tls.min_version:
        yield "max_version", f"{tls.max_version} is older than min_version {tls.min_version}; swap them"
    if (
        tls.cipher_suites
        and tls.min_version == "TLS12"
        and not any(map(CIPHER_SUITES.get, tls.cipher_suites))
    ):
        yield "cipher_suites", "names none for TLS 1.2; add one, or write min_version: TLS13"


class WebConfig:
    """The file as it is now; where it is broken, as it last was right."""

    def __init__(self, path: Path) -> None:
        """Raises InputError."""
        self.problem = ""  # what is wrong with the file now
        self._path = path
        self._web = load_web(path)
        self._seen = self._signature()

    def current(self) -> Web:
        """Looks whether the files have changed, and reads them if so."""
        signature = self._signature()
        if signature != self._seen or self._is_full():
            self._seen = signature
            self._reload()
        return self._web

    def _reload(self) -> None:
        try:
            self._web = load_web(self._path)
        except InputError as error:
            self.problem = str(error)
            _LOG.error("%s\n  What was right before goes on.", error)
            return
        if self.problem:
            _LOG.warning("%s is right again", self._path)
        self.problem = ""
        self._seen = self._signature()

    def _is_full(self) -> bool:
        """OpenSSL remembers each client of TLS 1.2 that resumes: a new context forgets them."""
        return self._web.tls is not None and self._web.tls.session_stats()["number"] > MOST_SESSIONS

    def _signature(self) -> list[tuple[int, int, int, int] | None]:
        return [_look(path) for path in self._web.files]


def _look(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
