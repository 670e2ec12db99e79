"""Carries a plan out: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from pyroute2 import IPRoute

from collector.control import changes as change
from collector.control.changes import Change
from collector.control.host import Host, read_host
from collector.control.models import Config
from collector.control.plan import Plan, interface_name, plan
from collector.control.state import (
    Refusal,
    instance_folder,
    read_notes,
    write_notes,
)  # fmt: skip
from collector.control.transaction import EgressRefusedError, Transaction, explained
from collector.datapath import tmeter
from collector.datapath.attach import XdpRefusedError
from collector.errors import HostError

NEIGHBOUR_PATIENCE = 3.0  # seconds for ARP to be answered; without an answer apply goes on


@dataclass(frozen=True)
class Applied:
    changes: tuple[Change, ...]
    host: Host  # as it is afterwards
    warnings: tuple[str, ...] = ()


def apply(config: Config, instance: str, netlink: IPRoute) -> Applied:
    """HostError: the host refused, and what ran before runs on."""
    try:
        return _apply(config, instance, netlink)
    except HostError:
        folder = instance_folder(instance)
        with suppress(OSError):  # what went wrong first is what has to be said
            if folder.exists():
                write_notes(folder, replace(read_notes(folder), failed=True))
        raise


def _apply(config: Config, instance: str, netlink: IPRoute) -> Applied:
    while True:
        host = read_host(netlink, instance, config.t_meter_address)
        wanted = plan(config, host)
        try:
            Transaction(wanted, host, config, instance, netlink).run()
        except EgressRefusedError as refusal:
            _remember(instance, host, refusal, "egress")
        except XdpRefusedError as refusal:
            _remember(instance, host, refusal, "source")
        else:
            after = read_host(netlink, instance, config.t_meter_address)
            return Applied(wanted.changes, after, tuple(_warn(wanted, netlink)))


def _remember(instance: str, host: Host, refusal: XdpRefusedError, role: str) -> None:
    """The next plan takes the refusal as a fact, and chooses another hook."""
    here = host.nic(refusal.ifindex)
    known = Refusal(refusal.ifindex, role, here.mtu if here else 0, refusal.words)
    if known in host.notes.refusals:
        raise HostError(f"{interface_name(host, refusal.ifindex)} refuses XDP: {refusal.words}")
    folder = instance_folder(instance)
    others = tuple(each for each in host.notes.refusals if (each.ifindex, each.role) != (known.ifindex, role))
    with explained("record why XDP is refused"):
        folder.mkdir(parents=True, exist_ok=True)
        write_notes(folder, replace(host.notes, netns=host.netns, refusals=(*others, known)))


def _warn(wanted: Plan, netlink: IPRoute) -> Iterator[str]:
    neighbour = wanted.wanted.neighbour
    kept = any(isinstance(each, change.KeepNeighbour) for each in wanted.changes)
    if neighbour and kept and not tmeter.wait_for_neighbour(netlink, neighbour, NEIGHBOUR_PATIENCE):
        yield (
            f"{neighbour.address} does not answer ARP: frames wait for it, and those that wait too long "
            "are dropped (reason neighbour)"
        )
