"""A real Prometheus and its tool, for minutes at most and in a folder that goes away."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from collector.operate.lab import Namespace, stop, wait_for

PORT = 9090


def tool(name: str) -> Path:
    """`prometheus` or `promtool`: beside the interpreter, where `make` puts it, or in the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = beside if beside.exists() else shutil.which(name)
    if found:
        return Path(found)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not here: make test fetches it", pytrace=False)
    pytest.skip(f"{name} is not here: make test fetches it")


def promtool(*words: str | Path, text: str | None = None) -> str:
    """What it prints; it must end well."""
    done = subprocess.run(
        [tool("promtool"), *words], input=text, text=True, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def assert_clean(exposition: str) -> None:
    assert promtool("check", "metrics", text=exposition) == ""


class Prometheus:
    """Its HTTP API, on the loopback interface of a namespace."""

    def __init__(self, machine: Namespace) -> None:
        self._machine = machine

    def get(self, path: str, **query: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        with closing(connection):
            with self._machine.enter():
                connection.request("GET", f"/api/v1/{path}?{urlencode(query)}")
            told: dict[str, Any] = json.loads(connection.getresponse().read())
        assert told["status"] == "success", (path, query, told)
        assert told.get("warnings", []) == [], (path, query, told)
        return told["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        edges = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        found: list[dict[str, Any]] = self.get("query_range", query=expression, **edges)["result"]
        return found

    def is_ready(self) -> bool:
        try:
            return bool(self.get("status/buildinfo"))
        except (ConnectionError, json.JSONDecodeError):
            return False


@contextmanager
def prometheus(machine: Namespace, folder: Path, files: Mapping[str, str]) -> Iterator[Prometheus]:
    """`files`: by name, the configuration and what it names; the first one is the configuration."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    command = [
        str(tool("prometheus")), f"--config.file={folder / next(iter(files))}",
        f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=1h",
        f"--web.listen-address=127.0.0.1:{PORT}", "--log.level=warn",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("w") as out:
        process = machine.start(command, stdout=out, stderr=out)
    try:
        server = Prometheus(machine)
        wait_for(lambda: process.poll() is not None or server.is_ready(), "Prometheus", 60)
        assert process.poll() is None, log.read_text()
        yield server
        assert log.read_text() == ""
    finally:
        stop(process)
