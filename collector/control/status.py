"""How it goes: read from the kernel alone, so that it is true whatever the file says."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pyroute2 import IPRoute

from collector.control.changes import resolver
from collector.control.hooks import why_not_native
from collector.control.host import Host, read_host
from collector.control.plan import interface_name
from collector.control.state import AT_SPLITTER, Place, instance_folder
from collector.datapath import counters, tmeter
from collector.datapath.attach import BYSTANDER, Hook
from collector.datapath.settings import Settings, Source, SourceType, TMeter, VniRule

UNATTACHED = "none"


@dataclass(frozen=True)
class SourceStatus:
    """`frames` and `bytes` are the mirrored frames as received; `hook` is "none" when detached."""

    name: str
    type: str
    interface: str
    hook: str
    why: str
    vni: str
    frames: int
    bytes: int
    passed_frames: int
    drops: Mapping[str, int]
    last_frame_age_seconds: float | None


@dataclass(frozen=True)
class TMeterStatus:
    """`up`: there is a route, and the next hop answers. What the t-meter itself does is not known."""

    name: str
    address: str
    port: int
    up: bool
    why: str
    frames: int
    bytes: int
    path_mtu: int


@dataclass(frozen=True)
class Status:
    instance: str
    healthy: bool
    configured: bool
    problems: tuple[str, ...]
    sources: tuple[SourceStatus, ...]
    t_meters: tuple[TMeterStatus, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_status(instance: str, netlink: IPRoute) -> Status:
    host = read_host(netlink, instance, None)
    settings = host.state.settings
    if settings:
        host = replace(host, route=tmeter.find_route(netlink, settings.tmeter.address))
    folder = instance_folder(instance)
    if settings is None or not host.state.counters:
        configured = bool(host.notes.digest)
        what = "the counters are gone" if settings else "the program is not attached any more"
        lost = (f"{what}; run: collector apply",) if configured else ()
        return Status(instance, not configured, configured, lost, (), ())
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    sources = tuple(
        _source(source, counters.read_source(folder, source.slot), host, now) for source in settings.sources
    )
    t_meter = _t_meter(settings.tmeter, host.route, counters.read_tmeter(folder), netlink)
    problems = tuple(_problems(settings, host))
    return Status(instance, not problems, True, problems, sources, (t_meter,))


def _source(source: Source, counted: counters.SourceCounters, host: Host, now: float) -> SourceStatus:
    hook = attached_hook(source.ifindex, host)
    age = None if counted.last_frame is None else max(0.0, round(now - counted.last_frame, 3))
    return SourceStatus(
        name=source.name,
        type=source.type.name.lower(),
        interface=interface_name(host, source.ifindex),
        hook=hook or UNATTACHED,
        why=_why(source, hook, host),
        vni=_vni_in_words(source),
        frames=counted.frames,
        bytes=counted.bytes,
        passed_frames=counted.passed_frames,
        drops=counted.drops,
        last_frame_age_seconds=age,
    )


def _why(source: Source, hook: Hook | None, host: Host) -> str:
    if hook in (None, Hook.XDP_NATIVE):
        return ""
    known = why_not_native(source.ifindex, host, span=source.type is SourceType.SPAN)
    return known or "the file says hook: tc"


def attached_hook(ifindex: int, host: Host, *, bystander: bool = False) -> Hook | None:
    """The first place that frames of this NIC pass; `bystander`: also where they are only let through."""
    hooks = [
        place.hook
        for place, name in host.state.programs.items()
        if place.ifindex == ifindex and (bystander or name != BYSTANDER)
    ]
    return next((hook for hook in Hook if hook in hooks), None)


def _vni_in_words(source: Source) -> str:
    if source.vni_rule is VniRule.KEEP:
        return "keep"
    default = "dropped" if source.vni is None else str(source.vni)
    if source.vni_rule is VniRule.FIXED:
        return default
    return f"{len(source.vni_map)} mapped, others {default}"


def _t_meter(
    wanted: TMeter, route: tmeter.Route, counted: counters.TMeterCounters, netlink: IPRoute
) -> TMeterStatus:
    why = route.refusal
    if not why:
        neighbour = tmeter.Neighbour(route.ifindex, route.next_hop)
        answers = tmeter.neighbour_state(netlink, neighbour) & tmeter.NUD_VALID
        why = "" if answers else f"{route.next_hop} does not answer {resolver(route.next_hop)}"
    return TMeterStatus(
        wanted.name, str(wanted.address), wanted.port, not why, why, counted.frames, counted.bytes,
        wanted.path_mtu,
    )  # fmt: skip


def _problems(settings: Settings, host: Host) -> Iterator[str]:
    for source in settings.sources:
        yield from _source_problems(source, host)
    for place in sorted(host.state.lost):
        if host.nic(place.ifindex) and attached_hook(place.ifindex, host):
            yield (
                f"somebody took the program away from {interface_name(host, place.ifindex)} at {place.hook}; "
                "run: collector apply"
            )
    for tuning, value in host.notes.tuned.items():
        now = host.tunings.get(tuning)
        if now not in (None, value) and tuning.name != "up":
            where = f"{interface_name(host, tuning.ifindex)} {tuning.name}"
            yield f"somebody changed {where} from {value} to {now}; run: collector apply"
    if Place(AT_SPLITTER, Hook.TC) not in host.state.programs or not host.state.splitter:
        yield "the splitter (collector-tx, collector-rx) is not as it should be; run: collector apply"


def _source_problems(source: Source, host: Host) -> Iterator[str]:
    here = host.nic(source.ifindex)
    if here is None:
        yield f"source {source.name}: its interface is gone"
    elif attached_hook(source.ifindex, host) is None:
        yield f"source {source.name}: nothing is attached to {here.name}; run: collector apply"
    elif not here.up:
        yield f"source {source.name}: {here.name} is down"
    elif not here.carrier:
        yield f"source {source.name}: {here.name} has no link; is the cable in?"
