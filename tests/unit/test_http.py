"""Does the HTTP server answer, whoever asks for what, and whatever the other clients do?"""

from __future__ import annotations

import base64
import gzip
import logging
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.control.http import Page, Server, clients, server, site, worker
from collector.control.http.exchange import Refused, parse
from collector.errors import HostError, InputError

TEXT = "text/plain; charset=utf-8"
METRICS = b"collector_up 1\n" * 200
PATIENCE = 10.0
CURL = shutil.which("curl")


def bug() -> Page:
    raise ZeroDivisionError("a page divides")


PAGES = {
    "/metrics": lambda: Page(200, "text/plain; version=1.0.0", METRICS),
    "/healthz": lambda: Page(503, TEXT, b"source pbx: eth1 is gone\n"),
    "/bug": bug,
}
LIST = b"The collector's pages:\n/metrics\n/healthz\n/bug\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """A server on loopback, and what clients do with it."""

    def __init__(self, pages: Mapping[str, Callable[[], Page]], web_config: Path | None = None) -> None:
        self.port = free_port()
        self.server = Server([("127.0.0.1", self.port)], pages, web_config, public={"/healthz"})
        self.server.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def ask(self, target: str, *headers: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        with self.connect() as sock:
            return ask(sock, target, *headers, method=method)


def ask(
    sock: socket.socket, target: str, *headers: str, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    lines = [f"{method} {target} HTTP/1.1", "Host: here", *headers]
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return read_answer(sock, empty=method == "HEAD")


def read_answer(sock: socket.socket, *, empty: bool = False) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise ConnectionResetError(data)
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    headers.pop("Date")
    while not empty and len(body) < int(headers["Content-Length"]):
        body += sock.recv(65536)
    return int(first.split()[1]), headers, body


def at_end(sock: socket.socket) -> bool:
    try:
        return sock.recv(65536) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def running() -> Iterator[Running]:
    found = Running(PAGES)
    yield found
    found.server.stop()
    assert found.server.counts.failures == 0


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_pages(running: Running) -> None:
    headers = {"Content-Type": TEXT, "Content-Length": str(len(LIST)), "Connection": "keep-alive"}
    assert running.ask("/") == (200, headers, LIST)
    assert running.ask("/", method="HEAD") == (200, headers, b"")
    assert running.ask("/healthz?full=1")[::2] == (503, b"source pbx: eth1 is gone\n")
    assert running.ask("http://here:80/healthz")[::2] == (503, b"source pbx: eth1 is gone\n")
    assert running.ask("/metrics") == (
        200,
        {
            "Content-Type": "text/plain; version=1.0.0",
            "Content-Length": "3000",
            "Connection": "keep-alive",
            "Vary": "Accept-Encoding",
        },
        METRICS,
    )
    status, headers, body = running.ask("/metrics", "Accept-Encoding: br, gzip")
    assert (status, headers["Content-Encoding"], gzip.decompress(body)) == (200, "gzip", METRICS)
    assert "Content-Encoding" not in running.ask("/metrics", "Accept-Encoding: gzip;q=0, br")[1]


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ("GET /x HTTP/1.1\r\nHost: h", 404, "There is no such page. The pages are: /metrics, /healthz, /bug"),
        ("POST / HTTP/1.1\r\nHost: h", 405, "Pages here can only be read: use GET or HEAD."),
        (
            "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3",
            405,
            "Pages here can only be read: use GET or HEAD.",
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3",
            400,
            "The request has a body; nothing here takes one.",
        ),
        ("GET / HTTP/1.1", 400, "The request has no Host header."),
        ("GET / HTTP/2.0\r\nHost: h", 400, "This is no HTTP/1.1 request."),
        ("nonsense", 400, "This is no HTTP/1.1 request."),
        ("GET / HTTP/1.1\r\nHost : h", 400, "A header of the request cannot be read."),
        ("GET / HTTP/1.1\r\nHost: h\r\nHost: i", 400, "A header of the request cannot be read."),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: " + "a" * 9000, 431, "The request is longer than 8192 bytes."),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: " + "a" * 200_000, 431, "The request is longer than 8192 bytes."),
    ],
)
def test_what_is_refused(running: Running, sent: str, status: int, words: str) -> None:
    with running.connect() as sock:
        sock.sendall(sent.encode() + b"\r\n\r\n")
        found, headers, body = read_answer(sock)
        assert (found, headers["Connection"], body.decode()) == (status, "close", f"{words}\n")
        assert at_end(sock)


def test_a_connection_is_kept(running: Running) -> None:
    with running.connect() as sock:
        assert ask(sock, "/")[0] == ask(sock, "/metrics")[0] == 200
        sock.sendall(
            b"GET /bug HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
        data = b""
        while more := sock.recv(65536):
            data += more
    assert (data.count(b"HTTP/1.1 500 "), data.count(b"HTTP/1.1 200 ")) == (1, 1)
    with running.connect() as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert read_answer(sock)[1]["Connection"] == "close"
        assert at_end(sock)


def test_a_bug_in_a_page(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    words = b"/bug failed: a bug of the collector. Its log has more: journalctl -u collector\n"
    assert running.ask("/bug")[::2] == (500, words)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError
    assert running.server.counts.page_failures == 1
    assert running.ask("/")[0] == 200


def test_a_slow_page_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(worker, "MOST_WAITING", 2)
    begun, go_on = threading.Semaphore(0), threading.Event()
    runs: list[Any] = []

    def slow() -> Page:
        runs.append(threading.current_thread().name)
        begun.release()
        assert go_on.wait(PATIENCE)
        return Page(200, TEXT, b"slow\n")

    running = Running({**PAGES, "/slow": slow})
    with ExitStack() as stack:
        stack.callback(running.server.stop)
        stack.callback(go_on.set)
        first, second, third = (stack.enter_context(running.connect()) for _ in range(3))
        first.sendall(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        assert begun.acquire(timeout=PATIENCE)
        second.sendall(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        assert running.ask("/healthz")[0] == 503
        assert ask(third, "/slow")[::2] == (503, b"/slow is slow and too many wait for it; come again.\n")
        assert read_answer(first)[::2] == (503, b"The page took too long; come again.\n")
        assert read_answer(second)[::2] == (503, b"The page took too long; come again.\n")
        go_on.set()
        monkeypatch.setattr(clients, "REQUEST_SECONDS", PATIENCE)
        assert running.ask("/slow")[::2] == (200, b"slow\n")
    assert set(runs) == {"http /slow"}


def test_who_waits_shares_a_run() -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()
    runs: list[Any] = []

    def counted() -> Page:
        runs.append(len(runs))
        begun.release()
        assert go_on.wait(PATIENCE)
        return Page(200, TEXT, b"%d" % runs[-1])

    running = Running({"/": bug, "/counted": counted})
    with ExitStack() as stack:
        stack.callback(running.server.stop)
        stack.callback(go_on.set)
        socks = [stack.enter_context(running.connect()) for _ in range(6)]
        socks[0].sendall(b"GET /counted HTTP/1.1\r\nHost: h\r\n\r\n")
        assert begun.acquire(timeout=PATIENCE)
        for sock in socks[1:]:
            sock.sendall(b"GET /counted HTTP/1.1\r\nHost: h\r\n\r\n")
        assert running.ask("/nothing")[0] == 404  # so the server has read what came before
        go_on.set()
        assert [read_answer(sock)[2] for sock in socks] == [b"0", *[b"1"] * 5]


def test_half_open_and_slow_clients(running: Running) -> None:
    """Also: what they cost. A thousand that say nothing, and fifty that say a byte at a time."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], min(4096, limit[1])), limit[1]))
    before, threads = memory(), threading.active_count()
    done = threading.Event()

    def drip(slow: list[socket.socket]) -> None:
        while not done.wait(0.02):
            for index, sock in enumerate(slow):
                try:
                    sock.sendall(b"G")
                except OSError:
                    sock.close()
                    slow[index] = running.connect()

    with ExitStack() as stack:
        stack.callback(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit))
        slow = [running.connect() for _ in range(50)]
        stack.callback(close_all, slow)
        dripping = threading.Thread(target=drip, args=(slow,))
        dripping.start()
        stack.callback(dripping.join)
        stack.callback(done.set)
        for index in range(1000):
            stack.enter_context(running.connect())
            if index % 100 == 0:
                started = time.monotonic()
                assert running.ask("/healthz")[0] == 503
                assert time.monotonic() - started < clients.REQUEST_SECONDS  # nobody had to go first
        assert len(running.server._clients._tasks) <= clients.MOST_CONNECTIONS
        assert threading.active_count() - threads <= 2 + 1
    assert running.server.counts.evicted > 900
    assert memory() - before < 8 << 20


def close_all(socks: list[socket.socket]) -> None:
    for sock in socks:
        sock.close()


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_byte_at_a_time_does_not_put_off_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "REQUEST_SECONDS", 0.3)
    running = Running(PAGES)
    try:
        with running.connect() as sock:
            sock.settimeout(0.01)
            started = time.monotonic()
            answer = b""
            while not answer and time.monotonic() - started < PATIENCE:
                sock.sendall(b"G")
                with suppress(TimeoutError):
                    answer = sock.recv(100)
        assert answer.startswith(b"HTTP/1.1 408 ")
    finally:
        running.server.stop()


def test_a_client_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(clients, "GRACE_SECONDS", 0.0)
    running = Running({"/big": lambda: Page(200, TEXT, bytes(16 << 20))})
    try:
        with running.connect() as sock:
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n")
            until(lambda: running.server.counts.answers[200] == 1)
            until(lambda: not running.server._clients._tasks)
    finally:
        running.server.stop()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_when_all_wait_for_us_nobody_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MOST_CONNECTIONS", 1)
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow() -> Page:
        begun.release()
        assert go_on.wait(PATIENCE)
        return Page(200, TEXT, b"")

    running = Running({"/slow": slow})
    try:
        with running.connect() as first:
            first.sendall(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
            assert begun.acquire(timeout=PATIENCE)
            with running.connect() as second:
                assert at_end(second)
            go_on.set()
            assert read_answer(first)[0] == 200
        assert running.server.counts.turned_away == 1
    finally:
        go_on.set()
        running.server.stop()


@pytest.fixture(scope="module")
def for_garbage() -> Iterator[Running]:
    found = Running(PAGES)
    yield found
    found.server.stop()
    assert found.server.counts.failures == 0


@settings(max_examples=150)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"GET ", b"GET / HTTP/1.1\r\nHost: h\r\n", b"\x16\x03\x01"]),
)
def test_garbage(for_garbage: Running, garbage: bytes, start: bytes) -> None:
    with for_garbage.connect() as sock:
        sock.sendall(start + garbage + b"\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        data = b""
        while more := sock.recv(65536):
            data += more
    assert data.startswith(b"HTTP/1.1 ")


@given(st.binary(max_size=200))
def test_any_head(head: bytes) -> None:
    for each in (head, b"GET / HTTP/1.1\r\nHost: h\r\n" + head):
        with suppress(Refused):
            assert parse(each).path


def test_addresses_that_cannot_be_had(running: Running) -> None:
    own = ("127.0.0.1", free_port())
    server = Server([own, ("127.0.0.1", running.port), ("192.0.2.1", 9747)], PAGES)
    for _ in range(2):
        with pytest.raises(HostError) as caught:
            server.start()
        assert str(caught.value) == (
            f"metrics.listen: 127.0.0.1:{running.port}: port {running.port} is taken by another program\n"
            "metrics.listen: 192.0.2.1:9747: this host has no address 192.0.2.1\n"
            f"  See which with: ss -tlnp 'sport = :{running.port}'. Stop it, or choose another port."
        )
    assert server.listening == (own,)
    with socket.create_connection(own, PATIENCE) as sock:
        assert ask(sock, "/")[0] == 200
    server.stop()


def test_both_kinds_of_address() -> None:
    port = free_port()
    server = Server([("::", port)], PAGES)
    server.start()
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, port), PATIENCE) as sock:
            assert ask(sock, "/")[0] == 200
    server.stop()
    both = Server([("::", port), ("0.0.0.0", port)], PAGES)
    both.start()
    assert both.listening == (("::", port), ("0.0.0.0", port))
    both.stop()


def test_a_restart_at_once(running: Running) -> None:
    """The connection that the server ended first is in TIME_WAIT, and an idle one is still there."""
    with running.connect() as sock, running.connect() as idle:
        assert ask(sock, "/")[0] == ask(idle, "/")[0] == 200
        for _ in range(3):
            running.server.stop()
            assert at_end(sock)
            running.server.start()
            assert running.ask("/", "Connection: close")[0] == 200


def test_no_descriptors_left(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PAUSE_SECONDS", 0.01)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert running.ask("/")[0] == 200
    sock = socket.socket()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno() + 1, limit[1]))
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", running.port))
        with pytest.raises(OSError, match="Too many open files"):
            socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert ask(sock, "/")[0] == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        sock.close()


# TLS and passwords


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's certificate, a CA and clients' certificates: one with the right name."""
    found = tmp_path_factory.mktemp("tls")
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"]
    for name, names in (("server", "IP:127.0.0.1"), ("ca", "DNS:ca"), ("stranger", "DNS:prometheus")):
        openssl(found, *new, f"/CN={name}", "-x509", "-keyout", f"{name}.key", "-out", f"{name}.crt",
                "-addext", f"subjectAltName={names}")  # fmt: skip
    for name, names in (("prometheus", "IP:2001:db8::1,DNS:prometheus"), ("other", "DNS:other")):
        openssl(found, *new, f"/CN={name}", "-x509", "-CA", "ca.crt", "-CAkey", "ca.key", "-keyout",
                f"{name}.key", "-out", f"{name}.crt", "-addext", f"subjectAltName={names}",
                "-addext", "basicConstraints=critical,CA:FALSE")  # fmt: skip
    return found


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


TLS = "tls_server_config: {cert_file: server.crt, key_file: server.key%s}\n"


def start_with(folder: Path, text: str) -> Running:
    path = folder / "web.yml"
    path.write_text(text)
    return Running(PAGES, path)


def client(folder: Path, certificate: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "server.crt")
    if certificate:
        context.load_cert_chain(folder / f"{certificate}.crt", folder / f"{certificate}.key")
    return context


def ask_tls(running: Running, context: ssl.SSLContext, *headers: str) -> tuple[int, bytes]:
    with running.connect() as sock, context.wrap_socket(sock, server_hostname="127.0.0.1") as secured:
        return ask(secured, "/metrics", *headers)[::2]


def test_tls(folder: Path) -> None:
    running = start_with(folder, TLS % "" + "http_server_config: {headers: {X-Frame-Options: deny}}\n")
    try:
        with (
            running.connect() as sock,
            client(folder).wrap_socket(sock, server_hostname="127.0.0.1") as secured,
        ):
            assert secured.version() == "TLSv1.3"
            for _ in range(2):
                status, headers, body = ask(secured, "/metrics")
                assert (status, headers["X-Frame-Options"], body) == (200, "deny", METRICS)
        assert running.ask("/")[::2] == (400, b"This port speaks HTTPS: write https://\n")
        silent = [running.connect() for _ in range(100)]
        assert ask_tls(running, client(folder)) == (200, METRICS)
        for sock in silent:
            sock.close()
    finally:
        running.server.stop()
    assert running.server.counts.failures == 0


def test_a_tls_client_that_stops_half_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "REQUEST_SECONDS", 0.2)
    running = start_with(folder, TLS % "")
    try:
        with running.connect() as sock:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
            assert at_end(sock)
        with running.connect() as sock:
            sock.sendall(b"\x16\x03\x01\x00\x05hello")
            assert sock.recv(100)[:1] in {b"\x15", b""}
    finally:
        running.server.stop()
    assert running.server.counts.failures == 0


def test_client_certificates(folder: Path) -> None:
    more = ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"
    running = start_with(folder, TLS % (more + ', client_allowed_sans: ["2001:db8::1", x]'))
    try:
        assert ask_tls(running, client(folder, "prometheus")) == (200, METRICS)
        assert ask_tls(running, client(folder, "other")) == (
            403,
            b"Your certificate has none of the names that are allowed here (client_allowed_sans).\n",
        )
        for certificate in ("", "stranger"):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                ask_tls(running, client(folder, certificate))
    finally:
        running.server.stop()


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def test_passwords(folder: Path) -> None:
    running = start_with(folder, f"basic_auth_users: {{alice: '{hashed('secret')}'}}\n")
    try:
        status, headers, body = running.ask("/metrics")
        assert (status, body) == (401, b"A user name and a password are needed here.\n")
        assert headers["WWW-Authenticate"] == 'Basic realm="collector", charset="UTF-8"'
        for header in (basic("alice", "wrong"), basic("eve", "secret"), "Authorization: Bearer x"):
            assert running.ask("/metrics", header)[::2] == (401, b"The user name or the password is wrong.\n")
        for _ in range(2):
            assert running.ask("/metrics", basic("alice", "secret"))[::2] == (200, METRICS)
        assert running.ask("/healthz")[::2] == (503, b"Service Unavailable\n")
        assert running.ask("/healthz", basic("alice", "secret"))[2] == b"source pbx: eth1 is gone\n"
        assert running.ask("/healthz", basic("alice", "wrong"))[0] == 401
        assert running.ask("/", method="HEAD")[0] == 401
    finally:
        running.server.stop()


def test_a_right_password_is_remembered(folder: Path) -> None:
    """The scrape after the first takes under 20 ms, also while another client guesses."""
    running = start_with(folder, f"basic_auth_users: {{alice: '{hashed('secret', 10)}'}}\n")
    try:
        with ExitStack() as stack:
            sock = stack.enter_context(running.connect())
            assert ask(sock, "/metrics", basic("alice", "secret"))[0] == 200
            guessers = [stack.enter_context(running.connect()) for _ in range(site.MOST_CHECKS + 4)]
            for index, guesser in enumerate(guessers):
                request = f"GET / HTTP/1.1\r\nHost: h\r\n{basic('alice', str(index))}\r\n\r\n"
                guesser.sendall(request.encode())
            took = []
            for _ in range(20):
                started = time.monotonic()
                assert ask(sock, "/metrics", basic("alice", "secret"))[0] == 200
                took.append(time.monotonic() - started)
            assert min(took) < 0.020
            assert ask(guessers[-1], "/")[0] in {401, 503}  # 503 where too many guesses wait at once
    finally:
        running.server.stop()


def test_the_file_changes(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    running = start_with(folder, f"basic_auth_users: {{alice: '{hashed('secret')}'}}\n")
    path = folder / "web.yml"
    try:
        with running.connect() as sock:
            assert ask(sock, "/", basic("alice", "secret"))[0] == 200
            path.write_text(f"basic_auth_users: {{bob: '{hashed('other')}'}}\n")
            assert ask(sock, "/", basic("bob", "other"))[0] == 200
        assert running.ask("/", basic("alice", "secret"))[0] == 401
        path.write_text("basic_auth_user: {}\n")
        assert running.ask("/", basic("bob", "other"))[0] == 200
        words = f"{path}:1:1: basic_auth_user: unknown key; did you mean 'basic_auth_users'?"
        assert running.server.problem == words
        assert running.ask("/", basic("bob", "other"))[0] == 200
        assert [record.getMessage() for record in caplog.records] == [
            f"{words}\n  What was right before goes on."
        ]
        path.write_text(TLS % "")
        assert ask_tls(running, client(folder)) == (200, METRICS)
        assert running.server.problem == ""
    finally:
        running.server.stop()


def test_a_wrong_file_serves_nothing(tmp_path: Path) -> None:
    port = free_port()
    server = Server([("127.0.0.1", port)], PAGES, tmp_path / "web.yml")
    with pytest.raises(InputError, match="there is no such file"):
        server.start()
    assert server.listening == ()
    server.stop()


@pytest.mark.skipif(CURL is None, reason="curl is not here")
def test_with_curl(folder: Path) -> None:
    running = start_with(folder, TLS % "" + f"basic_auth_users: {{alice: '{hashed('secret')}'}}\n")
    try:
        command = [
            str(CURL), "--silent", "--fail", "--compressed", "--cacert", str(folder / "server.crt"), "--user",
             "alice:secret", "--max-time", "10", "--write-out", "%{http_code} %{num_connects}\n",
        ]  # fmt: skip
        url = f"https://127.0.0.1:{running.port}"
        done = subprocess.run([*command, f"{url}/metrics", f"{url}/"], capture_output=True, check=True)
        assert done.stdout == METRICS + b"200 1\n" + LIST + b"200 0\n"
    finally:
        running.server.stop()
