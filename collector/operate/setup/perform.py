"""Does what the answers ask for: on trial first, then for good or not at all."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.control import confirm
from collector.control.apply import apply
from collector.control.check import check
from collector.control.config import ConfigFile
from collector.control.host import Host, read_host
from collector.control.names import resolve
from collector.control.plan import plan
from collector.control.status import Status, read_status
from collector.datapath.tmeter import find_route
from collector.errors import CollectorError, HostError
from collector.operate.setup import review, trial
from collector.operate.setup.dialogue import fitted
from collector.operate.setup.terminal import live_lines, read_keys, say
from collector.operate.setup.trial import Trial
from collector.operate.setup.wanted import Wanted
from collector.options import Options, changing

_NO_AGENT = """\
No agent runs here. After a restart of this machine: collector apply, or let
systemd start: collector run"""
ADDRESS_PATIENCE = 30.0  # seconds for DHCP, or for networkd


def hold(file: ConfigFile, instance: str, netlink: IPRoute) -> tuple[Host, tuple[str, ...]]:
    """The file against this machine; returns warnings. CollectorError where it does not fit."""
    host = read_host(netlink, instance, None)
    running = host.state.settings
    address = resolve(file.config, running.tmeter.address if running else None)
    if address:
        host = replace(host, route=find_route(netlink, address))
    return host, check(file, host)


def planned(file: ConfigFile, host: Host) -> list[str]:
    return [each.describe() for each in plan(file.config, host).changes]


def perform(options: Options, netlink: IPRoute, wanted: Wanted, admin: str) -> Trial:
    """Afterwards all of it runs, and waits to be kept. CollectorError: everything is as it was."""
    login = (admin, wanted.key.line) if wanted.key else ("", "")
    with _undisturbed():
        begun = trial.begin(options.instance, options.file, wanted.text, wanted.network, login)
        try:
            if wanted.network:
                say("\nThe network is being set ...")
                _await_network(netlink, wanted)
            _apply(options, netlink, wanted)
            return trial.applied(options.instance, begun)
        except CollectorError:
            trial.give_back(options.instance, begun, netlink)
            raise


def _apply(options: Options, netlink: IPRoute, wanted: Wanted) -> None:
    seconds = trial.PERIOD + (trial.MARGIN if wanted.network else 0)
    with changing(options):
        confirm.require_none(options.instance)
        host, warnings = hold(wanted.file, options.instance, netlink)
        if wanted.network:  # otherwise they have been shown before
            _warn(warnings)
        with confirm.within(options.instance, wanted.file, host, seconds):
            done = apply(wanted.file, options.instance, netlink, host.route)
    _warn(done.warnings)


def _warn(warnings: Sequence[str]) -> None:
    for each in warnings:
        say(fitted(f"warning: {each}"))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Neither Ctrl-C nor a lost terminal stops it half-way: afterwards there is a question."""
    former = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _await_network(netlink: IPRoute, wanted: Wanted) -> None:
    deadline = time.monotonic() + ADDRESS_PATIENCE
    while trouble := _network_trouble(netlink, wanted):
        if time.monotonic() > deadline:
            raise HostError(trouble, "Is the cable in, and is DHCP there? Look at: networkctl status")
        time.sleep(0.2)


def _network_trouble(netlink: IPRoute, wanted: Wanted) -> str:
    nics = {each.name: each for each in read_host(netlink, "default", None).nics}
    mirror, own = nics.get(wanted.nic), nics.get(wanted.own_nic)
    if wanted.is_mirror and mirror and mirror.addresses:
        return f"{mirror.name} keeps the address {mirror.addresses[0]}, which a mirror port cannot have"
    if wanted.moves and own:
        if wanted.static and wanted.static.address not in own.addresses:
            return f"{own.name} has not got the address {wanted.static.address}"
        if not own.addresses:
            return f"{own.name} has not got an address by DHCP"
    return ""


def settle(options: Options, netlink: IPRoute, waiting: Trial) -> None:
    """Asks whether to keep it, and does so or takes it back."""
    if _is_right(options.instance, netlink, waiting):
        trial.keep(options.instance, waiting)
        say(f"Kept, in\n  {waiting.file}\nHow it goes: collector status, or collector top")
        if not read_status(options.instance, netlink).agent:
            say(_NO_AGENT)
        return
    trial.give_back(options.instance, waiting, netlink)
    raise HostError("it was not kept: everything is as it was", "Once more: collector setup")


def _is_right(instance: str, netlink: IPRoute, waiting: Trial) -> bool:
    """False also when nobody answers. EOFError: the terminal is gone, and somebody may keep it yet."""
    start = before = read_status(instance, netlink)
    then = time.monotonic()
    say("\nIt runs. Make a call: frames should arrive, and be sent.\n")
    with live_lines() as draw:
        while (left := waiting.seconds_left) > 0:
            now, clock = _read(instance, netlink, before), time.monotonic()
            lines = review.flow(now, start, before, max(clock - then, 0.5))
            draw([*lines, "", f"Is it right? y keeps it, n takes it back ({left} s left): "])
            before, then = now, clock
            if trial.is_confirmed(instance, waiting) or trial.read(instance) is None:
                draw.done()
                return True
            for key in read_keys(1.0).lower():
                if key in "yn":
                    draw.done()
                    return key == "y"
        draw.done()
    return False


def _read(instance: str, netlink: IPRoute, before: Status) -> Status:
    """Another command may take away what is just being read."""
    try:
        return read_status(instance, netlink)
    except (OSError, NetlinkError):
        return before
