"""Carries a plan out: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from pyroute2.iproute import IPRoute

from collector.control import changes as change
from collector.control.changes import Change
from collector.control.config import ConfigFile
from collector.control.host import Host, read_host
from collector.control.notes import Refusal, change_notes, instance_folder, read_notes, write_notes
from collector.control.plan import Plan, interface_name, plan
from collector.control.transaction import EgressRefusedError, Transaction, explained
from collector.datapath import attach, nic, program, tmeter
from collector.datapath.attach import XdpRefusedError
from collector.datapath.libbpf import Fd
from collector.errors import HostError

NEIGHBOUR_PATIENCE = (
    3.0  # seconds for ARP or neighbour discovery to be answered; without an answer apply goes on
)


@dataclass(frozen=True)
class Applied:
    plan: Plan
    host: Host  # as it is afterwards
    warnings: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.plan.changes


def note_failure(instance: str) -> None:
    folder = instance_folder(instance)
    with suppress(OSError):  # what went wrong first is what has to be said
        failures = read_notes(folder).failures
        change_notes(folder, failed=True, failures=failures + 1)


def apply(file: ConfigFile, instance: str, netlink: IPRoute, route: tmeter.Route) -> Applied:
    """`route`: to the t-meter, or NO_ROUTE. HostError: the host refused, and what ran before runs on."""
    require_only_one(instance, read_host(netlink, instance, None).netns)
    _forget_stale_refusals(instance, netlink)
    done = converge(file, instance, netlink, route)
    return replace(done, warnings=tuple(_warn(done, netlink)))


def converge(file: ConfigFile, instance: str, netlink: IPRoute, route: tmeter.Route) -> Applied:
    """What `apply` does, without asking drivers again that have refused, and without waiting."""
    t_meter = None if route is tmeter.NO_ROUTE else route.address
    while True:
        host = read_host(netlink, instance, t_meter)
        wanted = plan(file.config, host)
        try:
            Transaction(wanted, host, file, instance, netlink).run()
        except EgressRefusedError as refusal:
            _remember(instance, host, refusal, "egress")
        except XdpRefusedError as refusal:
            _remember(instance, host, refusal, "source")
        else:
            return Applied(wanted, read_host(netlink, instance, t_meter))


def require_only_one(instance: str, netns: int) -> None:
    """Two would share the splitter, and take it from each other."""
    others = instance_folder(instance).parent
    for folder in others.iterdir() if others.exists() else ():
        if folder.name != instance and read_notes(folder).netns == netns:
            raise HostError(
                f"instance {folder.name} runs in this network namespace already",
                f"Remove it first: collector --instance {folder.name} remove",
            )


def _forget_stale_refusals(instance: str, netlink: IPRoute) -> None:
    """A driver that has refused XDP is asked once more: the reason may be gone."""
    notes = read_notes(instance_folder(instance))
    here = {each.ifindex: each for each in nic.read_nics(netlink)}
    bystander = program.load_bystander() if notes.refusals else None
    kept = tuple(
        each
        for each in notes.refusals
        if bystander and each.ifindex in here and _still_refuses(each, here[each.ifindex], bystander)
    )
    if kept != notes.refusals:
        with explained("forget that XDP was refused"):
            write_notes(instance_folder(instance), replace(notes, refusals=kept))


def _still_refuses(refusal: Refusal, here: nic.Nic, bystander: Fd) -> bool:
    if refusal.role == "egress":
        return here.xdp_features is not None and not here.xdp_features & nic.XDP_NDO_XMIT
    return bool(here.xdp_program) or attach.xdp_refusal(bystander, refusal.ifindex) is not None


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


def _warn(done: Applied, netlink: IPRoute) -> Iterator[str]:
    neighbour = done.plan.wanted.neighbour
    kept = any(isinstance(each, change.KeepNeighbour) for each in done.changes)
    if neighbour and kept and not tmeter.wait_for_neighbour(netlink, neighbour, NEIGHBOUR_PATIENCE):
        yield (
            f"{neighbour.address} does not answer {change.resolver(neighbour.address)}: frames wait for it, "
            "and those that wait too long are dropped (reason neighbour)"
        )
