"""`top`: whole outputs of given readings, the pace, and how it is left."""

from __future__ import annotations

import os
import pty
import signal
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from unittest.mock import Mock

import pytest
from pyroute2.netlink.exceptions import NetlinkError
from rich.console import Console

from collector.control import top
from collector.control.show import Rate
from collector.control.status import SourceStatus, Status, TMeterStatus
from collector.control.view import TOO_SMALL, View, compare, fitted, render
from collector.stop import StopSignals

CLOCK = "12:34:56"
PBX = SourceStatus(
    name="pbx", type="span", interface="eth1", hook="xdp-native", why="", vni="12", frames=1234567,
    bytes=264197338, passed_frames=0, drops={"malformed": 0, "loop": 0, "oversize": 0},
    last_frame_age_seconds=0.02,
)  # fmt: skip
AWS = replace(
    PBX, name="aws", type="vxlan", interface="eth0", hook="tc", frames=0, bytes=0,
    drops={"malformed": 0, "loop": 3, "oversize": 21}, last_frame_age_seconds=None,
)  # fmt: skip
OHIO = TMeterStatus("ohio", "203.0.113.10", 4789, up=True, why="", frames=1234543, bytes=9999, path_mtu=1500)
HEALTHY = Status(
    instance="default", healthy=True, configured=True, problems=(), detached=(), waiting=(), notices=(),
    agent=False, sources=(PBX, AWS), t_meters=(OHIO,),
)  # fmt: skip
BLANK = replace(HEALTHY, configured=False, sources=(), t_meters=())
SICK = replace(
    HEALTHY, instance="branch-2", healthy=False,
    problems=("source pbx: eth1 is down", "source aws: eth0 has no link; is the cable in?"),
    sources=(replace(PBX, hook="none"),),
    t_meters=(replace(OHIO, up=False, why="192.0.2.254 does not answer ARP"),),
)  # fmt: skip
NEXT = replace(
    HEALTHY,
    sources=(
        replace(PBX, frames=PBX.frames + 100_000, bytes=PBX.bytes + 21_400_000),
        replace(
            AWS, frames=AWS.frames + 5, bytes=AWS.bytes + 500, last_frame_age_seconds=0.4,
            drops={"malformed": 1, "loop": 3, "oversize": 621},
        ),
    ),
    t_meters=(replace(OHIO, frames=OHIO.frames + 99_000, bytes=OHIO.bytes + 20_000_000),),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the developer's own environment says about colour and width."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def lines_of(view: View, width: int = 80) -> list[str]:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(render(view))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def test_rates_of_everything() -> None:
    assert lines_of(compare(HEALTHY, NEXT, 2.0, CLOCK)) == [
        "12:34:56  instance default: healthy",
        "",
        "source  interface  hook        frames/s  Mbit/s  last frame  drops/s",
        "pbx     eth1       xdp-native    50,000   85.60       0.0 s  none",
        "aws     eth0       tc               2.5    0.00       0.4 s  oversize 300",
        "                                                             malformed 0.5",
        "",
        "t-meter  address            frames/s  Mbit/s  up",
        "ohio     203.0.113.10:4789    49,500   80.00  yes",
    ]


def test_before_there_are_two_readings() -> None:
    assert lines_of(View(HEALTHY, CLOCK)) == [
        "12:34:56  instance default: healthy",
        "",
        "source  interface  hook        frames/s  Mbit/s  last frame  drops/s",
        "pbx     eth1       xdp-native         -       -       0.0 s  -",
        "aws     eth0       tc                 -       -       never  -",
        "",
        "t-meter  address            frames/s  Mbit/s  up",
        "ohio     203.0.113.10:4789         -       -  yes",
    ]


def test_what_is_wrong_stands_at_the_bottom() -> None:
    sick = replace(
        SICK,
        notices=("the last apply is taken back in 40 s unless you run: collector confirm",),
        t_meters=(
            replace(SICK.t_meters[0], hint="frames flow all the same, so something between answers no ping"),
        ),
    )
    assert lines_of(compare(sick, sick, 1.0, CLOCK)) == [
        "12:34:56  instance branch-2: NOT healthy",
        "",
        "source  interface  hook  frames/s  Mbit/s  last frame  drops/s",
        "pbx     eth1       none         0    0.00       0.0 s  none",
        "",
        "t-meter  address            frames/s  Mbit/s  up",
        "ohio     203.0.113.10:4789         0    0.00  no: 192.0.2.254 does not answer",
        "                                              ARP",
        "",
        "! source pbx: eth1 is down",
        "! source aws: eth0 has no link; is the cable in?",
        "* the last apply is taken back in 40 s unless you run: collector confirm",
        "* frames flow all the same, so something between answers no ping",
    ]


def test_a_blank_unit() -> None:
    assert lines_of(compare(BLANK, BLANK, 1.0, CLOCK)) == ["12:34:56  not configured: nothing is forwarded"]


def test_counters_that_began_anew_and_sources_that_are_new_have_no_false_rates() -> None:
    view = compare(NEXT, replace(HEALTHY, sources=(PBX, replace(AWS, name="new"))), 1.0, CLOCK)
    assert view.sources == {"pbx": Rate(0, 0)}
    assert view.drops == {"pbx": {}}
    assert view.t_meters == {"ohio": Rate(0, 0)}


def test_long_names_and_large_figures_fit() -> None:
    busy = replace(PBX, name="a" * 31, interface="e" * 15, last_frame_age_seconds=200_000.0)
    far = replace(OHIO, name="t" * 31, address="2001:db8:1111:2222:3333:4444:5555:6666")
    view = View(
        replace(HEALTHY, sources=(busy,), t_meters=(far,)), CLOCK, True,
        {busy.name: Rate(14_880_952, 99_999_999_999)}, {busy.name: {"outer_fragment": 14_880_952.0}},
        {far.name: Rate(0.004, 1)},
    )  # fmt: skip
    assert lines_of(view) == [
        "12:34:56  instance default: healthy",
        "",
        "source     interface  hook          frames/s      Mbit/s  last frame  drops/s",
        "aaaaaaaaa  eeeeeeeee  xdp-native  14,880,952  100,000.00      2 days  outer_frag",
        "aaaaaaaaa  eeeeee                                                     ment",
        "aaaaaaaaa                                                             14,880,952",
        "aaaa",
        "",
        "t-meter                      address                       frames/s  Mbit/s  up",
        "ttttttttttttttttttttttttttt  [2001:db8:1111:2222:3333:444      <0.1    0.00  yes",
        "tttt                         4:5555:6666]:4789",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (119.9, "119.9 s"), (120.0, "2 min"), (7200.0, "2 h"), (172_800.0, "2 days")],
)
def test_ages(seconds: float, words: str) -> None:
    aged = replace(HEALTHY, sources=(replace(PBX, last_frame_age_seconds=seconds),))
    assert words in lines_of(View(aged, CLOCK))[3]


def test_a_window_that_is_too_small_still_shows_what_is_wrong() -> None:
    many = tuple(replace(PBX, name=f"pbx{number}") for number in range(64))
    sick = replace(SICK, sources=many)
    console = Console(width=80, height=12, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(fitted(View(sick, CLOCK), console), end="")
    assert [line.rstrip() for line in capture.get().splitlines()] == [
        "12:34:56  instance branch-2: NOT healthy",
        "",
        "source  interface  hook        frames/s  Mbit/s  last frame  drops/s",
        *(f"pbx{number}    eth1       xdp-native         -       -       0.0 s  -" for number in range(4)),
        TOO_SMALL,
        "",
        "! source pbx: eth1 is down",
        "! source aws: eth0 has no link; is the cable in?",
        "q or Ctrl-C leaves; frames flow on",
    ]


def watched(readings: list[Status], count: int | None, waits: int) -> list[View]:
    """What is shown where the user leaves after so many waits."""
    shown: list[View] = []
    going_on = iter([True] * waits + [False])
    top._watch(Mock(side_effect=readings), lambda _until: next(going_on), shown.append, (1.0, count))
    return shown


def test_it_reads_as_often_as_it_is_told() -> None:
    shown = watched([HEALTHY, NEXT, NEXT], count=2, waits=9)
    assert [view.measured for view in shown] == [False, True, True]
    assert [bool(sum(rate.frames_per_second for rate in view.sources.values())) for view in shown] == [
        False,
        True,
        False,
    ]


def test_it_ends_when_the_user_leaves() -> None:
    assert len(watched([HEALTHY, NEXT, NEXT], count=None, waits=1)) == 2


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file"), NetlinkError(19, "No such device")])
def test_what_is_taken_away_while_it_is_read_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(top, "read_status", Mock(side_effect=error))
    failed = top._read("default")
    assert lines_of(View(failed, CLOCK)) == [
        "12:34:56  instance default: NOT healthy",
        "",
        f"! this host cannot be read at the moment ({error}); trying again",
    ]


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Its two ends: ours, as the keyboard and screen, and the program's."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


LONG = 30.0


@pytest.mark.parametrize(
    ("typed", "goes_on"), [(b"q", False), (b"xQ", False), (b"\x1b[A", True), (b"", True)]
)
def test_keys(terminal: tuple[int, int], typed: bytes, goes_on: bool) -> None:
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    with open(theirs, closefd=False) as keyboard, open(theirs, "w", closefd=False) as screen:
        streams = Mock(stdin=keyboard, stdout=screen)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(top, "sys", streams)
            with top._waiting() as wait:
                os.write(ours, typed)
                assert wait(time.monotonic() + (0.05 if goes_on else LONG)) is goes_on
    assert termios.tcgetattr(theirs) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(number: signal.Signals) -> None:
    with StopSignals() as stop:
        threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        assert top._goes_on(stop, None, time.monotonic() + LONG) is False
