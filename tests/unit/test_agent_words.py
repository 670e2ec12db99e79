"""What the agent listens to, and what it writes in its log: each thing once."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from collector.control.journal import Journal
from collector.control.notify import Systemd
from collector.control.status import SourceStatus, Status, TMeterStatus
from collector.control.watch import _matters, _split

SOURCE = SourceStatus("pbx", "span", "eth1", "xdp-native", "", "12", 0, 0, 0, {}, None)
T_METER = TMeterStatus("ohio", "192.0.2.2", 4789, True, "", 0, 0, 1500)
FINE = Status("default", True, True, (), (SOURCE,), (T_METER,))


def hooked(hook: str, why: str = "") -> Status:
    return replace(FINE, sources=(replace(SOURCE, hook=hook, why=why),))


def test_the_hook_is_said_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    journal = Journal()
    states = ["xdp-native", "xdp-native", "none", "tc", "tc", "none", "xdp-native", "tc"]
    for hook in states:
        journal.state(hooked(hook, "MTU" if hook == "tc" else ""))
    assert caplog.messages == [
        "source pbx: eth1 goes by xdp-native",
        "source pbx: eth1 goes by tc now: MTU",
        "source pbx: eth1 goes by xdp-native again",
        "source pbx: eth1 goes by tc again: MTU",
    ]


def test_what_is_wrong_is_said_once_when_it_comes_and_once_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    journal = Journal()
    down = replace(T_METER, up=False, why="does not answer", hint="frames leave all the same")
    wrong = replace(FINE, sources=(), problems=("one\n  do this", "two"), t_meters=(down,))
    for status in (replace(FINE, sources=()), wrong, wrong, replace(wrong, problems=("two",), t_meters=())):
        journal.state(status)
    journal.state(replace(wrong, problems=("two",), t_meters=()), "a configuration was refused")
    journal.trouble("three")
    assert caplog.messages == [
        "one\n  do this",
        "two",
        "t-meter ohio: does not answer",
        "t-meter ohio: frames leave all the same",
        "no longer: one",
        "no longer: t-meter ohio: does not answer",
        "no longer: t-meter ohio: frames leave all the same",
        "a configuration was refused",
        "three",
        "no longer: two",
        "no longer: a configuration was refused",
    ]


# systemd


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def test_systemd_is_told_what_is_new(manager: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "30000000"})
    assert systemd.watchdog == 15
    systemd.say("READY=1")
    for words in ("fine", "fine", "not so"):
        systemd.status(words)
    assert [manager.recv(99) for _ in range(3)] == [b"READY=1", b"STATUS=fine", b"STATUS=not so"]
    with pytest.raises(BlockingIOError):
        manager.recv(99)


def test_without_systemd_nothing_is_told() -> None:
    systemd = Systemd({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"})
    systemd.say("READY=1")
    assert systemd.watchdog is None


# What rings

GATEWAY = ip_address("192.0.2.254")


def message(kind: int, *attributes: tuple[int, bytes], fixed: int = 12) -> bytes:
    body = bytes(fixed)
    for number, value in attributes:
        body += struct.pack("=HH", 4 + len(value), number) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("kind", "address", "rings"),
    [
        (16, "", True),  # a link
        (24, "", True),  # a route
        (28, "192.0.2.254", False),  # a neighbour that is there
        (29, "192.0.2.254", True),  # the gateway's entry is gone
        (29, "192.0.2.7", False),
    ],
)
def test_what_is_worth_a_look(kind: int, address: str, rings: bool) -> None:
    attributes = [(1, ip_address(address).packed)] if address else []
    (only,) = _split(message(kind, (2, b"odd"), *attributes))
    assert _matters(*only, GATEWAY) is rings
    assert _matters(*only, None) is (rings and kind != 29)


def test_messages_that_come_together_and_such_as_are_cut() -> None:
    two = message(16) + message(29, (1, GATEWAY.packed))
    assert [kind for kind, _ in _split(two)] == [16, 29]
    assert list(_split(two[:10])) == []
    assert list(_split(struct.pack("=IHHII", 3, 16, 0, 0, 0))) == []
    (cut,) = _split(struct.pack("=IHHII", 32, 29, 0, 0, 0) + bytes(12) + struct.pack("=HH", 2, 1))
    assert _matters(*cut, GATEWAY) is False
