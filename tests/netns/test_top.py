"""`collector top` where frames really flow: in a pipe, and on a terminal that it must leave as it was."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from collector.operate.lab import Process
from tests.lib.call import call
from tests.lib.rig import Rig, on_link
from tests.lib.tap import send

ALTERNATE, ORDINARY = b"\x1b[?1049h", b"\x1b[?1049l"
SIZE = (24, 80)
HUGE = bytes.fromhex("020000000002 020000000001 88b5").ljust(1490, b"\0")


@pytest.fixture(scope="module", params=["xdp", "tc"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Frames of a call flow, and ones that are too large for the way to the t-meter."""
    with on_link(request.param) as rig, flowing(rig):
        rig.apply(oversize="drop")
        yield rig


@contextmanager
def flowing(rig: Rig) -> Iterator[None]:
    frames, ended = [*call(20), HUGE], threading.Event()

    def feed() -> None:
        while not ended.wait(0.02):
            send(rig.switch, "span0", frames)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_in_a_pipe_it_prints_each_reading(rig: Rig) -> None:
    hook = {"xdp": "xdp-native", "tc": "tc"}[rig.hook]
    done = rig.tool.command("top", "--interval", "0.3", "--count", "2")
    readings = done.stdout.split("instance ")
    assert (done.stderr, "\x1b" in done.stdout, len(readings)) == ("", False, 3)
    assert max(map(len, done.stdout.splitlines())) <= 80
    for reading in readings[1:]:
        source = re.search(
            rf"^pbx +eth1 +{hook} +([\d,.]+) +([\d.]+) +0\.\d s  oversize (\d+)", reading, re.MULTILINE
        )
        t_meter = re.search(r"^tm +192\.0\.2\.2:4789 +([\d,.]+) +([\d.]+)  yes", reading, re.MULTILINE)
        assert reading.startswith(f"{rig.tool.instance}: healthy\n"), reading
        assert source, reading
        assert t_meter, reading
        figures = [number(text) for text in (*source.groups(), *t_meter.groups())]
        assert min(figures) > 0, figures


@contextmanager
def on_a_terminal(rig: Rig, *options: str) -> Iterator[tuple[Process, Callable[[bytes], bytes], int, int]]:
    """The process, a reader of its screen until some bytes are seen there, and the terminal's two ends."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, SIZE)
    words = ["-c", str(rig.tool.file), "--instance", rig.tool.instance, "top", *options]
    seen = bytearray()

    def read_until(wanted: bytes) -> bytes:
        while wanted not in seen:
            assert select.select([ours], [], [], 20)[0], bytes(seen)
            seen.extend(os.read(ours, 65536))
        return bytes(seen)

    command = ["env", "TERM=xterm-256color", sys.executable, "-m", "collector", *words]
    process = rig.collector.start(command, stdin=theirs, stdout=theirs, stderr=theirs)
    try:
        yield process, read_until, ours, theirs
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("how", ["q", signal.SIGINT, signal.SIGTERM, "count"])
def test_on_a_terminal_it_leaves_no_trace(rig: Rig, how: str | signal.Signals) -> None:
    options = ["--count", "1"] if how == "count" else []
    with on_a_terminal(rig, "--interval", "0.2", *options) as (process, read_until, ours, theirs):
        before = termios.tcgetattr(theirs)
        screen = read_until(b"frames flow on")
        assert screen.startswith(ALTERNATE)
        read_until(b"oversize")  # there are rates by now
        if isinstance(how, signal.Signals):
            process.send_signal(how)
        elif how == "q":
            os.write(ours, b"q")
        screen = read_until(ORDINARY)
        assert process.wait(timeout=20) == 0
        assert b"Traceback" not in screen
        assert screen.endswith(ORDINARY)
        assert termios.tcgetattr(theirs) == before


def test_what_is_wrong_is_said_and_it_goes_on_when_all_is_taken_away() -> None:
    with on_link("tc") as rig:
        rig.apply()
        with on_a_terminal(rig, "--interval", "0.2") as (process, read_until, ours, _):
            read_until(b"healthy")
            rig.collector.down("eth1")
            read_until(b"source pbx: eth1 is down")
            rig.tool.command("remove")
            read_until(b"not configured: nothing is forwarded")
            os.write(ours, b"q")
            read_until(ORDINARY)
            assert process.wait(timeout=20) == 0
