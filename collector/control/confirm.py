"""An apply that is taken back by itself unless somebody confirms it in time.

A process of its own waits for the deadline, out of reach of the shell that started it; the agent, where
one runs, waits as well. Whoever comes first puts the former configuration back.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pyroute2 import IPRoute

from collector.control.apply import alone, converge, note_failure
from collector.control.config import BLANK, ConfigFile, digest, load_text
from collector.control.host import read_host
from collector.control.names import resolve
from collector.control.notes import (
    Pending,
    change_notes,
    forget_text,
    instance_folder,
    read_notes,
    read_text,
    write_notes,
    write_text,
)
from collector.control.observed import boottime
from collector.datapath.tmeter import NO_ROUTE, find_route
from collector.errors import CollectorError, HostError

_LOOK = 0.5  # seconds between two looks whether it was confirmed
_RETRY = 5.0  # seconds, when the former configuration could not be put back


def require_none(instance: str) -> None:
    pending = read_notes(instance_folder(instance)).pending
    if pending:
        raise HostError(
            f"an earlier apply still waits to be confirmed, for {seconds_left(pending)} s",
            "Keep it: collector confirm. Or wait until it is taken back.",
        )


def seconds_left(pending: Pending) -> int:
    return max(0, round(pending.deadline - boottime()))


@contextmanager
def within(instance: str, netns: int, seconds: int | None) -> Iterator[None]:
    """What is applied inside is taken back after so many seconds; None: never. The caller is `alone`."""
    if seconds is None:
        yield
        return
    _begin(instance, netns, seconds)
    try:
        yield
    except CollectorError:
        _give_up(instance)
        raise


def _begin(instance: str, netns: int, seconds: int) -> None:
    folder = instance_folder(instance)
    pending = Pending(boottime() + seconds, secrets.token_hex(8))
    folder.mkdir(parents=True, exist_ok=True)
    text = read_text(folder, "configuration")
    if text is not None:
        write_text(folder, "former", text)
    notes = read_notes(folder)
    write_notes(folder, replace(notes, netns=notes.netns or netns, pending=pending))
    _start_guard(instance, pending)


def _start_guard(instance: str, pending: Pending) -> None:
    arguments = len(sys.argv) - 1
    ourselves = [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - arguments]]
    nowhere = subprocess.DEVNULL
    subprocess.Popen(  # noqa: S603 - ourselves, with a token of ours
        [*ourselves, "--instance", instance, "guard", pending.token],
        start_new_session=True, stdin=nowhere, stdout=nowhere, stderr=nowhere,
    )  # fmt: skip


def confirm(instance: str) -> bool:
    """False when nothing waits. The caller is `alone`."""
    folder = instance_folder(instance)
    if not read_notes(folder).pending:
        return False
    change_notes(folder, pending=None)
    forget_text(folder, "former")
    return True


def _give_up(instance: str) -> None:
    """The apply failed: what was there before still runs."""
    folder = instance_folder(instance)
    confirm(instance)
    if not read_notes(folder).digest:
        forget_text(folder, "notes")
        if not any(folder.iterdir()):
            folder.rmdir()


def guard(instance: str, token: str, netlink: IPRoute) -> None:
    """Waits for the deadline, or for the confirmation."""
    while (pending := read_notes(instance_folder(instance)).pending) and pending.token == token:
        if not seconds_left(pending):
            try:
                take_back(instance, token, netlink)
            except CollectorError:
                time.sleep(_RETRY)  # it is on record, and `status` says it
        time.sleep(_LOOK)


def take_back(instance: str, token: str, netlink: IPRoute) -> None:
    folder = instance_folder(instance)
    with alone():
        notes = read_notes(folder)
        if notes.pending is None or notes.pending.token != token:
            return
        refused, former = notes.digest, read_text(folder, "former")
        file = load_text(former, "the former configuration") if former is not None else BLANK
        try:
            _put_back(file, instance, netlink)
        except CollectorError:
            note_failure(instance)
            raise
        folder.mkdir(parents=True, exist_ok=True)
        unconfirmed = refused if refused != digest(file.config) else ""
        now = replace(read_notes(folder), netns=notes.netns, pending=None, unconfirmed=unconfirmed)
        write_notes(folder, now)
        forget_text(folder, "former")


def _put_back(file: ConfigFile, instance: str, netlink: IPRoute) -> None:
    running = read_host(netlink, instance, None).state.settings
    address = resolve(file.config, running.tmeter.address if running else None)
    converge(file, instance, netlink, find_route(netlink, address) if address else NO_ROUTE)
