"""A setup that waits to be kept: on record for whoever keeps it, and watched by a process of its own.

Until then nothing lasts: the configuration file is the old one, and what networkd tries lies in /run.
So whatever happens, a power cut too, the end is that everything is as it was.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.control import confirm
from collector.control.config import load_text
from collector.control.files import replace_file
from collector.control.lock import alone
from collector.control.notes import instance_folder, read_notes, read_text
from collector.control.observed import boottime
from collector.datapath.libbpf import BpfError
from collector.datapath.tmeter import find_route
from collector.errors import CollectorError, HostError
from collector.operate.setup.bus import reload_networkd
from collector.operate.setup.keys import add_key, parse_key
from collector.operate.setup.network import FINAL, NETWORK, NETWORK_ON_TRIAL, TRIAL

FOLDER = Path("/run/collector-setup")
PERIOD = 120  # seconds to keep it
MARGIN = 20  # by which the network comes back earlier than the data plane, which needs its routes
_START = 60  # seconds more, until it runs
_LOOK, _RETRY = 0.5, 5.0  # seconds


@dataclass(frozen=True)
class Trial:
    """`applied`: all of it runs, so that it can be kept; `waits`: so does the data plane, for `confirm`."""

    token: str
    deadline: float  # of the clock that counts suspended time
    file: str
    text: str
    network: Mapping[str, str]
    user: str = ""
    key: str = ""
    applied: bool = False
    waits: bool = False

    @property
    def seconds_left(self) -> int:
        return max(0, round(self.deadline - boottime()))


def read(instance: str) -> Trial | None:
    file = _record(instance)
    return Trial(**json.loads(file.read_text())) if file.exists() else None


def begin(instance: str, file: Path, text: str, network: Mapping[str, str], login: tuple[str, str]) -> Trial:
    """`login`: the user who gets an SSH key, and the key; empty for none. The caller is not `alone`."""
    trial = Trial(secrets.token_hex(8), boottime() + PERIOD + _START, str(file), text, network, *login)
    _write(instance, trial)
    _start_guard(instance, trial.token)
    for name, content in network.items():
        replace_file(NETWORK_ON_TRIAL / (TRIAL + name), content)
    if network:
        reload_networkd()
    return trial


def applied(instance: str, trial: Trial) -> Trial:
    pending = read_notes(instance_folder(instance)).pending
    deadline = boottime() + PERIOD
    if pending:
        deadline = pending.deadline - (MARGIN if trial.network else 0)
    now = replace(trial, applied=True, waits=bool(pending), deadline=deadline)
    _write(instance, now)
    return now


def is_confirmed(instance: str, trial: Trial) -> bool:
    """By `collector confirm`, elsewhere."""
    return trial.waits and not read_notes(instance_folder(instance)).pending and _runs(instance, trial)


def keep(instance: str, trial: Trial) -> None:
    """Puts everything in place for good. HostError: it is too late, or a file cannot be written."""
    with alone():
        if not _is_on_trial(instance, trial):
            if _is_kept(instance, trial):
                return
            raise HostError("it is too late: everything has been taken back", "Once more: collector setup")
        if not _runs(instance, trial):
            raise HostError("something else has been applied meanwhile", "Look at it: collector status")
        for name, content in trial.network.items():
            replace_file(NETWORK / (FINAL + name), content)
        replace_file(Path(trial.file), trial.text, backup=True)
        confirm.confirm(instance)
        _forget(instance, trial)
    if trial.key:
        add_key(trial.user, parse_key(trial.key))


def _is_kept(instance: str, trial: Trial) -> bool:
    file = Path(trial.file)
    return _runs(instance, trial) and file.exists() and file.read_text() == trial.text


def give_back(instance: str, trial: Trial, netlink: IPRoute) -> None:
    """Does nothing where it was kept, or given back, already."""
    with alone():
        if not _is_on_trial(instance, trial):
            return
        _forget(instance, trial)
    if trial.network:
        reload_networkd()
        _await_former_way(instance, netlink)
    pending = read_notes(instance_folder(instance)).pending
    if trial.waits and pending:
        confirm.take_back(instance, pending.token, netlink)


def _await_former_way(instance: str, netlink: IPRoute) -> None:
    """The route that the former configuration needs; without it the data plane's own guard tries again."""
    former = read_text(instance_folder(instance), "former")
    address = load_text(former, "the former configuration").config.t_meter_address if former else None
    deadline = time.monotonic() + MARGIN - 5
    while address and not isinstance(address, str) and find_route(netlink, address).refusal:
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)


def _is_on_trial(instance: str, trial: Trial) -> bool:
    now = read(instance)
    return now is not None and now.token == trial.token


def _runs(instance: str, trial: Trial) -> bool:
    return read_text(instance_folder(instance), "configuration") == trial.text


def _record(instance: str) -> Path:
    return FOLDER / f"setup-{instance}.json"


def _write(instance: str, trial: Trial) -> None:
    replace_file(_record(instance), json.dumps(asdict(trial)), mode=0o600)


def _forget(instance: str, trial: Trial) -> None:
    """networkd goes on with what it has read, which is what lies in its folder for good, or is read anew."""
    for name in trial.network:
        (NETWORK_ON_TRIAL / (TRIAL + name)).unlink(missing_ok=True)
    _record(instance).unlink(missing_ok=True)


def _start_guard(instance: str, token: str) -> None:
    """It outlives this process and its terminal."""
    if os.fork():
        return
    try:
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nowhere, standard)
        os.closerange(3, 1024)
        _guard(instance, token)
    finally:
        os._exit(0)


def _guard(instance: str, token: str) -> None:
    while (trial := read(instance)) and trial.token == token:
        try:
            if trial.applied and is_confirmed(instance, trial):
                keep(instance, trial)
            elif not trial.seconds_left:
                with IPRoute(ext_ack=True) as netlink:
                    give_back(instance, trial, netlink)
        except (CollectorError, BpfError, NetlinkError, OSError):
            time.sleep(_RETRY)
        time.sleep(_LOOK)
