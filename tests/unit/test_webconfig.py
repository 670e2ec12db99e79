"""Does this web configuration file become the right protection, or exactly the right error?"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import bcrypt
import pytest

from collector.control.check import check
from collector.control.config import load_file
from collector.control.http.passwords import Passwords, credentials
from collector.control.http.webconfig import MOST_SESSIONS, WebConfig, load_web
from collector.errors import InputError
from tests.lib.hosts import HOST

# Always the same: it is part of tests' names, which every process that takes some of them must find again.
HASH = bcrypt.hashpw(b"secret", b"$2b$04$saltsaltsaltsaltsaltsu").decode()
TLS = "tls_server_config: {cert_file: a.crt, key_file: a.key%s}\n"


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_pair(folder: Path, name: str, *more: str) -> None:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}")
    openssl(folder, "req", "-x509", *curve, "-keyout", f"{name}.key", "-out", f"{name}.crt", *more)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    make_pair(folder, "a")
    make_pair(folder, "b")
    openssl(folder, "pkey", "-in", "a.key", "-aes256", "-passout", "pass:x", "-out", "locked.key")
    (folder / "text").write_text("nothing\n")
    return folder


@pytest.fixture
def complaints(pairs: Path) -> Callable[[str], str]:
    def complain(text: str) -> str:
        path = pairs / "web.yml"
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            load_web(path)
        return str(caught.value).replace(f"{pairs}/", "")

    return complain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1:1: the file is empty, so it protects nothing; fill it or remove metrics.web_config"),
        ("a", "1:1: 'a' cannot stand here; write 'key: value' lines"),
        ("tls_server: {}", "1:1: tls_server: unknown key; did you mean 'tls_server_config'?"),
        (
            "rate_limit: {burst: 1}",
            "1:1: rate_limit: is not needed: requests never wait for each other; remove it",
        ),
        (
            "tls_server_config: {cert_file: a.crt}",
            "1:20: tls_server_config.key_file: is missing; add it",
        ),
        (TLS % ", key: x", "1:56: tls_server_config.key: is read from a file only; write key_file"),
        (
            TLS % ", min_version: TLS10",
            "1:69: tls_server_config.min_version: TLS10 is broken; use TLS12 or TLS13",
        ),
        (
            TLS % ", min_version: TLS13, max_version: TLS12",
            "1:89: tls_server_config.max_version: TLS12 is older than min_version TLS13; swap them",
        ),
        (
            TLS % ", client_auth_type: RequireAnyClientCert",
            (
                "1:74: tls_server_config.client_auth_type: RequireAnyClientCert takes any certificate, so it "
                "proves nothing; write RequireAndVerifyClientCert"
            ),
        ),
        (
            TLS % ", client_auth_type: RequireAndVerifyClientCert",
            (
                "1:74: tls_server_config.client_auth_type: needs the CA that signs the clients' "
                "certificates; add client_ca_file"
            ),
        ),
        (
            TLS % ", client_ca_file: b.crt",
            (
                "1:72: tls_server_config.client_ca_file: does nothing by itself; "
                "add client_auth_type: RequireAndVerifyClientCert"
            ),
        ),
        (
            TLS % ", client_allowed_sans: [x]",
            (
                "1:77: tls_server_config.client_allowed_sans: needs a certificate of every client; "
                "write client_auth_type: RequireAndVerifyClientCert"
            ),
        ),
        (
            TLS % ", cipher_suites: [TLS_AES_128_GCM_SHA256]",
            (
                "1:71: tls_server_config.cipher_suites: names none for TLS 1.2; add one, "
                "or write min_version: TLS13"
            ),
        ),
        (
            TLS % ", cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA25]",
            (
                "1:72: tls_server_config.cipher_suites[0]: 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA25' is not "
                "known; did you mean 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'?"
            ),
        ),
        (
            TLS.replace("a.crt", "c.crt") % "",
            "1:32: tls_server_config.cert_file: there is no file c.crt; write it, or name another",
        ),
        (
            TLS.replace("a.crt", "text") % "",
            (
                "1:32: tls_server_config.cert_file: text holds no certificate; "
                "it must begin -----BEGIN CERTIFICATE-----"
            ),
        ),
        (
            TLS.replace("a.key", "text") % "",
            (
                "1:49: tls_server_config.key_file: text holds no private key; "
                "it must begin -----BEGIN PRIVATE KEY-----"
            ),
        ),
        (
            TLS.replace("a.key", "b.key") % "",
            (
                "1:49: tls_server_config.key_file: b.key is not the key of a.crt; "
                "name the one that belongs to it"
            ),
        ),
        (
            TLS.replace("a.key", "locked.key") % "",
            (
                "1:49: tls_server_config.key_file: locked.key has a password; "
                "take it off: openssl pkey -in locked.key -out NEW"
            ),
        ),
        ("basic_auth_users: {}", "1:19: basic_auth_users: it names nobody; add a user, or remove the key"),
        (
            "basic_auth_users: {a: secret}",
            "1:23: basic_auth_users.a: this is no bcrypt hash; make one with: htpasswd -nBC 10 NAME",
        ),
        (
            f"basic_auth_users: {{a: {HASH.replace('$04$', '$18$')}}}",
            "1:23: basic_auth_users.a: the cost 18 takes too long; make the hash with 4 to 14",
        ),
        (
            f"basic_auth_users: {{'a:b': {HASH}}}",
            "1:20: basic_auth_users.'a:b': 'a:b' cannot be a user's name; use a text without ':'",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: allow}}",
            (
                "1:49: http_server_config.headers.X-Frame-Options: 'allow' is not known; "
                "use '', 'deny' or 'sameorigin'"
            ),
        ),
        (
            'http_server_config: {headers: {X-XSS-Protection: "1\\nX: y"}}',
            (
                "1:50: http_server_config.headers.X-XSS-Protection: a header takes plain ASCII on one line "
                "only; remove other characters"
            ),
        ),
        (
            "http_server_config: {headers: {X-Frame-Option: deny}}",
            "1:32: http_server_config.headers.X-Frame-Option: unknown key; did you mean 'X-Frame-Options'?",
        ),
    ],
)
def test_what_is_wrong(complaints: Callable[[str], str], text: str, said: str) -> None:
    assert complaints(text) == f"web.yml:{said}"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_web(tmp_path / "web.yml")
    assert str(caught.value) == (
        f"{tmp_path}/web.yml: there is no such file\n  Write it, or name another with metrics.web_config."
    )


def test_every_key(pairs: Path) -> None:
    path = pairs / "web.yml"
    path.write_text(f"""\
tls_server_config:
  cert_file: {pairs}/a.crt
  key_file: a.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: b.crt
  client_allowed_sans: [prometheus.example.net]
  min_version: TLS12
  max_version: TLS12
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]
  prefer_server_cipher_suites: false
http_server_config:
  http2: true
  headers: {{Strict-Transport-Security: max-age=1, X-Content-Type-Options: nosniff, X-XSS-Protection: ""}}
basic_auth_users: {{alice: "{HASH}"}}
""")
    web = load_web(path)
    assert web.tls is not None
    assert web.tls.verify_mode == ssl.CERT_REQUIRED
    assert web.tls.maximum_version == ssl.TLSVersion.TLSv1_2
    names = [suite["name"] for suite in web.tls.get_ciphers() if suite["protocol"] == "TLSv1.2"]
    assert names == ["ECDHE-ECDSA-AES256-GCM-SHA384"]
    assert not web.tls.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert web.headers == {"X-Content-Type-Options": "nosniff", "Strict-Transport-Security": "max-age=1"}
    assert web.names == {"prometheus.example.net"}
    assert web.passwords.verify("alice", b"secret")
    assert web.files == (path, *(pairs / name for name in ("a.crt", "a.key", "b.crt")))


def test_a_changed_file_is_read_and_a_broken_one_is_not_used(pairs: Path, tmp_path: Path) -> None:
    for name in ("a.crt", "a.key"):
        (tmp_path / name).write_bytes((pairs / name).read_bytes())
    path = tmp_path / "web.yml"
    path.write_text(TLS % "")
    config = WebConfig(path)
    first = config.current()
    assert config.current() is first
    copy(pairs / "b.crt", tmp_path).replace(tmp_path / "a.crt")
    assert config.current() is first
    assert config.problem == (
        f"{path}:1:49: tls_server_config.key_file: {tmp_path}/a.key is not the key of {tmp_path}/a.crt; "
        "name the one that belongs to it"
    )
    copy(pairs / "b.key", tmp_path).replace(tmp_path / "a.key")
    second = config.current()
    assert (second is first, config.problem) == (False, "")
    path.unlink()
    assert config.current() is second
    assert "there is no such file" in config.problem


def copy(path: Path, folder: Path) -> Path:
    made = folder / f"new-{path.name}"
    made.write_bytes(path.read_bytes())
    return made


def test_tls_sessions_do_not_pile_up(pairs: Path) -> None:
    """A client of TLS 1.2 that takes no ticket makes OpenSSL remember its session."""
    path = pairs / "web.yml"
    path.write_text(TLS % "")
    config = WebConfig(path)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.options |= ssl.OP_NO_TICKET
    remembered = []
    for _ in range(MOST_SESSIONS + 10):
        context = config.current().tls
        assert context is not None
        shake_hands(client, context)
        remembered.append(context.session_stats()["number"])
    assert remembered == [*range(1, MOST_SESSIONS + 2), *range(1, 10)]


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """And end well: OpenSSL forgets what was cut off."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)]
    for step in ("do_handshake", "do_handshake", "do_handshake", "unwrap", "unwrap"):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                getattr(end, step)()


def test_check_warns_of_it(tmp_path: Path) -> None:
    path = tmp_path / "collector.yaml"
    path.write_text(f"version: 1\nmetrics: {{web_config: {tmp_path}/web.yml}}\n")
    assert check(load_file(path), HOST) == (
        (
            f"metrics: nothing is served until this is mended: {tmp_path}/web.yml: there is no such file\n"
            "  Write it, or name another with metrics.web_config."
        ),
    )


def test_passwords() -> None:
    passwords = Passwords({"alice": HASH, "bob": HASH.replace("$2b$", "$2y$")})
    assert not passwords.is_known("alice", b"secret")
    assert passwords.verify("alice", b"secret")
    assert passwords.is_known("alice", b"secret")
    assert not passwords.is_known("bob", b"secret")
    assert passwords.verify("bob", b"secret")
    assert passwords.rest == 0
    for user, password in (("alice", b"Secret"), ("eve", b"secret"), ("alice", b"x" * 100), ("a", b"\0")):
        assert not passwords.verify(user, password)
        assert not passwords.is_known(user, password)
    assert passwords.rest > 0


def test_an_unknown_user_costs_a_hash_of_the_same_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords({"alice": bcrypt.hashpw(b"secret", bcrypt.gensalt(6)).decode()})
    asked = []

    def check_password(_: bytes, hashed: bytes) -> bool:
        asked.append(hashed[:7])
        return True

    monkeypatch.setattr(bcrypt, "checkpw", check_password)
    assert not passwords.verify("eve", b"secret")
    assert asked == [b"$2b$06$"]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic YTpi", ("a", b"b")),
        ("basic  YTpiOmM=", ("a", b"b:c")),
        ("Basic YQ==", None),
        ("Basic !", None),
        ("Basic", None),
        ("Bearer YTpi", None),
    ],
)
def test_credentials(header: str, found: tuple[str, bytes] | None) -> None:
    assert credentials(header) == found
