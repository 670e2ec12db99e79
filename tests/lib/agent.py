"""`collector run` in a namespace: started, watched by its log and by `status`, and always ended.

As a script it is the same, with constants of the product set to what a test can wait for.
"""

from __future__ import annotations

import http.client
import importlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.control.follow import Eyes, Look
from collector.datapath import program
from collector.operate.lab import Namespace, Process, ended_within, stop, wait_for
from tests.lib.box import Box
from tests.lib.fault import Fault, Faulty, _forget_tcx
from tests.lib.rig import Rig

ROOT = Path(__file__).parents[2]
PORT = 9747
PATIENCE = 30.0  # seconds, for slow machines: what is waited for takes parts of a second


class Agent:
    """`patches`: NAME=VALUE for the script; without any, it is the real command line. `prefix`: a command
    that runs the agent in its own process."""

    def __init__(
        self,
        machine: Namespace,
        argv: list[str],
        log: Path,
        read: Callable[[], str],
        *patches: str,
        prefix: tuple[str, ...] = (),
    ) -> None:
        self._argv, self._patches, self._prefix = argv, patches, prefix
        self._machine = machine
        self._log = log
        self._read = read
        self._process: Process | None = None
        self._passed = 0  # lines of the log that a test has waited for

    @property
    def process(self) -> Process:
        assert self._process
        return self._process

    def start(self, *patches: str) -> None:
        """Returns once it has looked for the first time. `patches`: in the place of its own."""
        patches = patches or self._patches
        module = ["tests.lib.agent", *patches] if patches else ["collector"]
        argv = [*self._prefix, sys.executable, "-m", *module, *self._argv]
        with self._log.open("a") as log:
            self._process = self._machine.start(argv, stdout=log, stderr=log)
        wait_for(self.alive, "the agent's first look", PATIENCE)

    def alive(self) -> bool:
        assert self.process.poll() is None, self.log()
        return bool(self.status()["agent"])

    def log(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []

    def says(self, *wanted: str, timeout: float = PATIENCE) -> None:
        """Waits for lines that begin so, one after the other, and after those that were waited for before."""
        for words in wanted:
            try:
                wait_for(lambda words=words: self._found(words), words, timeout)  # type: ignore[misc]
            except Exception:
                print("\n".join(self.log()))
                raise

    def _found(self, words: str) -> bool:
        for number, line in enumerate(self.log()[self._passed :], start=self._passed):
            if line.startswith(words):
                self._passed = number + 1
                return True
        return False

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self._read())
        return told

    def source(self) -> dict[str, Any]:
        (only,) = self.status()["sources"]
        return dict(only)

    def t_meter(self) -> dict[str, Any]:
        (only,) = self.status()["t_meters"]
        return dict(only)

    def becomes(self, holds: Callable[[dict[str, Any]], bool], what: str, timeout: float = PATIENCE) -> None:
        """Waits until `holds` is true of the status."""
        try:
            wait_for(lambda: holds(self.status()), what, timeout)
        except Exception:
            print("\n".join(self.log()), self.status(), sep="\n")
            raise

    def get(self, path: str) -> tuple[int, str]:
        with self._machine.enter():
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
            connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body

    def metric(self, name: str) -> float:
        """By its name and labels, as on the page."""
        (value,) = [
            line.rpartition(" ")[2]
            for line in self.get("/metrics")[1].splitlines()
            if line.rpartition(" ")[0] == name
        ]
        return float(value)

    def hang_up(self) -> None:
        """SIGHUP: reads its file."""
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        self.process.terminate()
        assert ended_within(self.process, 5), "it does not hear SIGTERM"
        return int(self.process.returncode)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def agent_of(box: Box, *patches: str, prefix: tuple[str, ...] = ()) -> Iterator[Agent]:
    """Not started yet."""
    log = box.file.with_suffix(".log")
    agent = Agent(
        box.host, box.argv("run"), log, lambda: box.quick("status", "--json").out, *patches, prefix=prefix
    )
    with _ended(agent):
        yield agent


@contextmanager
def agent_of_rig(rig: Rig, faulty: Faulty) -> Iterator[Agent]:
    tool = rig.tool
    options = ["-c", str(tool.file), "--instance", tool.instance]

    def read() -> str:
        return faulty.run(rig.collector, [*options, "status", "--json"], Fault()).out

    agent = Agent(rig.collector, [*options, "run"], tool.file.with_suffix(".log"), read)
    with _ended(agent):
        yield agent


@contextmanager
def _ended(agent: Agent) -> Iterator[None]:
    try:
        yield
    finally:
        if agent._process:
            stop(agent._process)
    tracebacks = [line for line in agent.log() if line.startswith("Traceback")]
    assert tracebacks == [], "\n".join(agent.log())


def _upgraded() -> None:
    """The package brings another build of the program."""
    program.build = lambda: "another"


def _tells_looks() -> None:
    original = Eyes.look

    def look(self: Eyes, *arguments: Any) -> Look:
        print("look", file=sys.stderr)
        return original(self, *arguments)

    setattr(Eyes, "look", look)  # noqa: B010  mypy knows no other way


_WORDS = {"old-kernel": _forget_tcx, "upgraded": _upgraded, "tells-looks": _tells_looks}


def _patch(settings: list[str]) -> None:
    """`MODULE.CONSTANT=NUMBER`, of collector.control, or one of _WORDS."""
    for setting in settings:
        if setting in _WORDS:
            _WORDS[setting]()
            continue
        where, _, value = setting.partition("=")
        module, _, name = where.rpartition(".")
        loaded = importlib.import_module(f"collector.control.{module}")
        assert hasattr(loaded, name), setting
        setattr(loaded, name, type(getattr(loaded, name))(value))


if __name__ == "__main__":
    from collector.cli import main

    first = next(number for number, word in enumerate(sys.argv) if word == "-c")
    _patch(sys.argv[1:first])
    sys.argv[1:first] = []
    main()
