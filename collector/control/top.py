"""`collector top`: what flows at this moment, read anew every second until you leave."""

from __future__ import annotations

import os
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from rich.console import Console
from rich.live import Live

from collector.control.host import require_host
from collector.control.show import new_console
from collector.control.status import Status, read_status
from collector.control.view import View, compare, fitted, render
from collector.stop import StopSignals


def show_top(instance: str, interval: float, count: int | None) -> None:
    """Until the user leaves, or after `count` readings."""
    require_host()
    with ExitStack() as stack:
        wait = stack.enter_context(_waiting())
        show = stack.enter_context(_showing(new_console()))
        _watch(lambda: _read(instance), wait, show, (interval, count))


def _watch(
    read: Callable[[], Status],
    wait: Callable[[float], bool],
    show: Callable[[View], None],
    limits: tuple[float, int | None],
) -> None:
    """`wait` is until a time of the monotonic clock; it says whether to go on. `limits`: interval, count."""
    interval, count = limits
    before, then = read(), time.monotonic()
    show(View(before, _clock()))
    readings = 0
    while readings != count and wait(then + interval):
        status, now = read(), time.monotonic()
        show(compare(before, status, now - then, _clock()))
        before, then, readings = status, now, readings + 1


def _read(instance: str) -> Status:
    """Another command may take away what is just being read: that is no reason to end.

    A netlink socket for each reading: pyroute2's keep what they have heard, and grow.
    """
    try:
        with IPRoute(ext_ack=True) as netlink:
            return read_status(instance, netlink)
    except (OSError, NetlinkError) as error:
        words = f"this host cannot be read at the moment ({error}); trying again"
        return Status(
            instance, healthy=False, configured=True, problems=(words,), detached=(), waiting=(), notices=(),
            agent=False, sources=(), t_meters=(),
        )  # fmt: skip


def _clock() -> str:
    return time.strftime("%H:%M:%S")


@contextmanager
def _showing(console: Console) -> Iterator[Callable[[View], None]]:
    """Fills a terminal's window, and leaves no trace there; elsewhere it prints, once there are rates."""
    if not sys.stdout.isatty() or console.is_dumb_terminal:
        yield lambda view: console.print(render(view), "") if view.measured else None
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield lambda view: live.update(fitted(view, console), refresh=True)


@contextmanager
def _waiting() -> Iterator[Callable[[float], bool]]:
    with StopSignals() as stop, _keyboard() as keyboard:
        yield lambda until: _goes_on(stop, keyboard, until)


@contextmanager
def _keyboard() -> Iterator[int | None]:
    """Its descriptor, giving each key as it is pressed; Ctrl-C stays a signal. None without a terminal."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield None
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSAFLUSH, before)


def _goes_on(stop: StopSignals, keyboard: int | None, until: float) -> bool:
    """After `until`; False as soon as the user wants to leave, or the terminal is gone."""
    while not stop.requested and (left := until - time.monotonic()) > 0:
        if keyboard is not None and stop.wait(keyboard, left):
            pressed = os.read(keyboard, 100)
            if not pressed or b"q" in pressed.lower():
                return False
        elif keyboard is None:
            stop.wait(None, left)
    return not stop.requested
