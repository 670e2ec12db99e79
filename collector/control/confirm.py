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
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_address

from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.control.apply import converge, note_failure
from collector.control.config import BLANK, Config, ConfigFile, digest, load_text
from collector.control.host import Host
from collector.control.lock import BusyError, alone
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
from collector.control.presence import call
from collector.control.transaction import explained
from collector.control.values import Address
from collector.datapath.libbpf import BpfError
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


def waits(instance: str) -> bool:
    return read_notes(instance_folder(instance)).pending is not None


def seconds_left(pending: Pending) -> int:
    return max(0, round(pending.deadline - boottime()))


@contextmanager
def within(instance: str, file: ConfigFile, host: Host, seconds: int | None) -> Iterator[None]:
    """What is applied inside is taken back after so many seconds; None: never. The caller is `alone`."""
    if seconds is None:
        yield
        return
    folder = instance_folder(instance)
    former = read_text(folder, "configuration")
    with explained("note what to go back to", "Nothing is changed."):
        pending = _begin(instance, file, host, seconds)
    try:
        yield
    except CollectorError:
        forget(instance)
        raise
    if read_text(folder, "configuration") == former:  # there is nothing to take back
        forget(instance)
    else:
        with explained("note that the apply is done", "It is taken back."):
            change_notes(folder, pending=replace(pending, complete=True))


def _begin(instance: str, file: ConfigFile, host: Host, seconds: int) -> Pending:
    folder, running = instance_folder(instance), host.state.settings
    t_meter = str(running.tmeter.address) if running else ""
    pending = Pending(boottime() + seconds, secrets.token_hex(8), digest(file.config), t_meter)
    _start_guard(instance, pending)
    folder.mkdir(parents=True, exist_ok=True)
    text = read_text(folder, "configuration")
    if text is not None:
        write_text(folder, "former", text)
    notes = read_notes(folder)
    write_notes(folder, replace(notes, netns=notes.netns or host.netns, pending=pending))
    return pending


def _start_guard(instance: str, pending: Pending) -> None:
    """Before anything is changed: from then on this process may be killed."""
    arguments = len(sys.argv) - 1
    ourselves = [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - arguments]]
    nowhere = subprocess.DEVNULL
    subprocess.Popen(  # noqa: S603 - ourselves, with a token of ours
        [*ourselves, "--instance", instance, "guard", pending.token],
        start_new_session=True, stdin=nowhere, stdout=nowhere, stderr=nowhere,
    )  # fmt: skip


def confirm(instance: str) -> bool:
    """False when nothing waits. The caller is `alone`."""
    pending = read_notes(instance_folder(instance)).pending
    if pending is None:
        return False
    if not pending.complete:
        raise HostError(
            "the apply that waits to be confirmed was killed before its end: there is nothing to keep",
            f"It is taken back in {seconds_left(pending)} s; then: collector apply",
        )
    forget(instance)
    return True


def forget(instance: str) -> None:
    """What runs is to stay. The caller is `alone`."""
    if not waits(instance):
        return
    folder = instance_folder(instance)
    with explained("forget what to go back to", "It is taken back in time."):
        change_notes(folder, pending=None)
        forget_text(folder, "former")
        notes = read_notes(folder)
        if not (notes.digest or notes.origins or notes.unconfirmed):
            forget_text(folder, "notes")
            if not any(folder.iterdir()):
                folder.rmdir()


def guard(instance: str, token: str, netlink: IPRoute) -> None:
    """Waits for the apply to end, and for the deadline, or for the confirmation."""
    _wait_for_apply()
    while (pending := read_notes(instance_folder(instance)).pending) and pending.token == token:
        if not seconds_left(pending):
            try:
                take_back(instance, token, netlink)
            except (CollectorError, BpfError, NetlinkError, OSError):
                time.sleep(_RETRY)  # it is on record, and `status` says it
            call(instance)
        time.sleep(_LOOK)


def _wait_for_apply() -> None:
    waiting = True
    while waiting:
        with suppress(BusyError), alone():
            waiting = False


def take_back(instance: str, token: str, netlink: IPRoute, patience: float | None = None) -> None:
    folder = instance_folder(instance)
    with alone() if patience is None else alone(patience):
        notes = read_notes(folder)
        if notes.pending is None or notes.pending.token != token:
            return
        refused, former = notes.pending.digest, read_text(folder, "former")
        file = load_text(former, "the former configuration") if former is not None else BLANK
        try:
            address = _address(file.config, notes.pending)
            converge(file, instance, netlink, find_route(netlink, address) if address else NO_ROUTE)
        except CollectorError:
            note_failure(instance)
            raise
        unconfirmed = refused if refused != digest(file.config) else ""
        now = replace(read_notes(folder), netns=notes.netns, pending=None, unconfirmed=unconfirmed)
        write_notes(folder, now)
        forget_text(folder, "former")


def _address(config: Config, pending: Pending) -> Address | None:
    """The one that it had: what is taken back may be what keeps this host from its DNS."""
    if isinstance(config.t_meter_address, str) and pending.t_meter:
        return ip_address(pending.t_meter)
    return resolve(config, None)
