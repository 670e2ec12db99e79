"""The file, the commands and systemd: what the agent obeys, and what it says of what it cannot."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.operate.lab import wait_for
from tests.lib.agent import Agent, agent_of
from tests.lib.box import Box, complaint

FLOWING = "forwarding pbx to ohio (192.0.2.2)"


@contextmanager
def running(box: Box) -> Iterator[Agent]:
    with agent_of(box) as agent:
        agent.start()
        yield agent


def told(agent: Agent, words: str) -> None:
    """As a notice: what runs is well."""
    agent.becomes(lambda status: status["notices"] == [words] and status["healthy"], words)


def test_a_blank_machine_is_healthy(box: Box) -> None:
    box.file.unlink()
    with running(box) as agent:
        assert agent.get("/healthz") == agent.get("/readyz") == (200, "fine\n")
        status = agent.status()
        assert (status["configured"], status["healthy"], status["problems"]) == (False, True, [])
        assert agent.log() == []
        assert "not configured" in box.good("status")
        assert agent.stop() == 0
    assert agent.log() == ["the agent stops; frames flow on without it"]
    assert not box.pins.exists()


def test_a_file_is_read_when_asked_to(box: Box) -> None:
    with running(box) as agent:
        assert box.forwarded() == 12
        box.write(("vni: 12", "vni: 13"))
        agent.hang_up()
        agent.says("replace the program: pbx to ohio (192.0.2.2)")
        assert box.forwarded() == 13
        assert agent.source()["frames"] == 2
        assert agent.metric("collector_drift_repairs_total") == 0


def test_a_broken_file_leaves_what_runs(box: Box) -> None:
    with running(box) as agent:
        box.file.write_text("version: 1\nsorces: []\n")
        agent.hang_up()
        wrong = f"{box.file}:2:1: sorces: "
        agent.says(wrong)
        agent.becomes(lambda status: any(each.startswith(wrong) for each in status["notices"]), wrong)
        assert agent.status()["healthy"] is True
        assert box.forwarded() == 12

        box.file.unlink()
        agent.hang_up()
        gone = f"{box.file} is gone; what was applied before goes on"
        agent.says(gone)
        told(agent, gone)
        assert box.forwarded() == 12

        box.write()
        agent.hang_up()
        agent.becomes(lambda status: status["notices"] == [], "nothing to say")
        assert box.forwarded() == 12


def test_a_file_that_this_host_refuses_leaves_what_runs_and_that_is_looked_after(box: Box) -> None:
    with running(box) as agent:
        box.write(("eth1", "eth0"))
        agent.hang_up()
        refused = "eth0 has the address 192.0.2.1/24"
        agent.becomes(lambda status: refused in str(status["problems"]), refused)
        assert box.forwarded() == 12
        assert agent.get("/healthz") == (200, "fine\n")
        assert agent.get("/readyz")[0] == 503

        box.host.run(["ip", "link", "del", "eth1"])
        agent.says("source pbx: there is no interface eth1")
        box.switch.link("span0", box.host, "eth1")
        agent.says("no longer: source pbx: there is no interface eth1")
        assert box.forwarded() == 12

        box.host.run(["ip", "address", "flush", "dev", "eth0"])
        box.write()
        box.host.address("eth0", "192.0.2.1/24")
        agent.hang_up()
        agent.becomes(lambda status: status["healthy"], "all to be well")
        assert box.forwarded() == 12


def test_what_is_removed_by_hand_stays_so_until_the_agent_is_asked(box: Box) -> None:
    with running(box) as agent:
        box.good("remove")
        agent.says("the agent does nothing more: it was removed by hand (collector remove)")
        told(agent, "it was removed by hand (collector remove)")
        box.host.address("eth0", "192.0.2.8/24")  # something to look at
        agent.becomes(lambda status: not status["configured"], "nothing to be configured")
        assert agent.get("/healthz") == (200, "fine\n")
        agent.hang_up()
        agent.says("load the program: pbx to ohio (192.0.2.2)")
        assert box.forwarded() == 12
        agent.becomes(lambda status: status["notices"] == [], "nothing to say")


def test_a_second_agent_refuses(box: Box) -> None:
    with running(box) as agent:
        second = box.run("run")
        assert (second.returncode, second.stdout) == (1, "")
        assert complaint(second) == (
            f"collector: an agent runs already for the instance {box.instance} "
            f"(process {agent.process.pid}) One is enough. To restart it: systemctl restart collector"
        )
        agent.kill()
        agent.start()


def test_an_instance_of_another_namespace_is_refused(box: Box) -> None:
    box.good("apply")
    before = box.snapshot()
    done = box.tmeter.run([sys.executable, "-m", "collector", *box.argv("run")], check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"collector: instance {box.instance} runs in another network namespace")
    box.await_same(before)


# systemd


class Manager:
    """Listens as systemd does."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def hears(self, *wanted: str) -> None:
        """Waits for messages that begin so, one after the other; forgets those before."""
        for words in wanted:
            wait_for(lambda words=words: self._hears(words), words, 30)  # type: ignore[misc]

    def _hears(self, words: str) -> bool:
        while True:
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                break
        for number, message in enumerate(self.heard):
            if message.startswith(words):
                del self.heard[: number + 1]
                return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    try:
        yield manager
    finally:
        manager.close()


def test_what_systemd_is_told(box: Box, manager: Manager, tmp_path: Path) -> None:
    environment = ("env", f"NOTIFY_SOCKET={tmp_path}/notify", "WATCHDOG_USEC=400000")
    with agent_of(box, prefix=environment) as agent:
        agent.start()
        manager.hears("STATUS=", "READY=1", *["WATCHDOG=1"] * 3)
        agent.hang_up()
        manager.hears("RELOADING=1\nMONOTONIC_USEC=", "READY=1")
        assert box.forwarded() == 12
        box.host.run(["ip", "link", "set", "eth0", "down"])
        manager.hears("STATUS=the t-meter 'ohio' (192.0.2.2) cannot be reached: this host has no route to it")
        box.host.run(["ip", "link", "set", "eth0", "up"])
        manager.hears(f"STATUS={FLOWING}")
        assert agent.stop() == 0
        manager.hears("STOPPING=1")


def test_a_manager_that_is_gone_stops_nothing(box: Box, tmp_path: Path) -> None:
    with agent_of(box, prefix=("env", f"NOTIFY_SOCKET={tmp_path}/nobody")) as agent:
        agent.start()
        agent.says("systemd could not be told READY=1: No such file or directory")
        assert box.forwarded() == 12
