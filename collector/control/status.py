"""How it goes: read from the kernel alone, so that it is true whatever the file says."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pyroute2.iproute import IPRoute

from collector.control.changes import resolver
from collector.control.fallback import read_fallback
from collector.control.hooks import why_not_native
from collector.control.host import Host, read_host
from collector.control.lock import unchanged
from collector.control.notes import Known, instance_folder
from collector.control.observed import Observed, boottime, read_observed
from collector.control.plan import interface_name
from collector.control.refused import refused
from collector.control.state import AT_SPLITTER, Place
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
    last_sip_age_seconds: float | None = None
    last_rtp_age_seconds: float | None = None
    up: bool = False  # attached, and with a link


@dataclass(frozen=True)
class TMeterStatus:
    """`up`: there is a route, the next hop answers, and so does the probe, where the agent has one.

    `hint`: what else there is to know, such as a probe that fails while frames flow.
    """

    name: str
    address: str
    port: int
    up: bool
    why: str
    frames: int
    bytes: int
    path_mtu: int
    oversize_frames: int = 0
    hint: str = ""
    round_trip_seconds: float | None = None
    path_errors: Mapping[str, int] = field(default_factory=dict)  # ICMP errors by kind


@dataclass(frozen=True)
class Status:
    """`detached`: of the problems, those that keep the data plane from being as it was applied;
    `waiting`: what the agent waits for; `notices`: what is no problem, but worth knowing."""

    instance: str
    healthy: bool
    configured: bool
    problems: tuple[str, ...]
    sources: tuple[SourceStatus, ...]
    t_meters: tuple[TMeterStatus, ...]
    detached: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    agent: bool = False  # whether one runs

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_status(instance: str, netlink: IPRoute) -> Status:
    with unchanged():
        host = read_host(netlink, instance, None)
    return status_of(host, instance, netlink)


def status_of(host: Host, instance: str, netlink: IPRoute, now: float | None = None) -> Status:
    """Of a brief `host` it cannot say why a hook is no better one. Ages are those at `now`, by
    CLOCK_MONOTONIC."""
    settings, folder = host.state.settings, instance_folder(instance)
    observed = read_observed(folder)
    waiting = observed.waiting if observed else ()
    notices = tuple(_notices(host, observed))
    configured = bool(host.notes.digest) or bool(waiting)
    if settings is None or not host.state.counters:
        what = "the counters are gone" if settings else "the program is not attached any more"
        lost = (f"{what}; {_remedy(observed)}",) if host.notes.digest else ()
        troubles = (*lost, *waiting)
        return Status(
            instance, not troubles, configured, troubles, (), (), troubles, waiting, notices, bool(observed)
        )
    host = replace(host, route=tmeter.find_route(netlink, settings.tmeter.address))
    now = time.clock_gettime(time.CLOCK_MONOTONIC) if now is None else now
    slots = {each.slot for each in settings.sources} | {each.slot for each in host.notes.sources}
    counted = counters.read_sources(folder, slots)
    sources = tuple(_source(source, counted[source.slot], host, now) for source in settings.sources)
    absent = [each for each in host.notes.sources if each.name not in {source.name for source in sources}]
    t_meter = _t_meter(settings.tmeter, host, counters.read_tmeter(folder), netlink, observed)
    detached = tuple(_detached(settings, host, absent, observed))
    problems = (*detached, *_down(settings, host), *waiting)
    away = tuple(_absent(each, counted[each.slot], now) for each in absent)
    return Status(
        instance, not problems, True, problems, (*sources, *away), (t_meter,),
        detached, waiting, notices, bool(observed),
    )  # fmt: skip


def _notices(host: Host, observed: Observed | None) -> Iterator[str]:
    fallback = read_fallback()
    if fallback:
        yield f"{fallback}; see: collector update status"
    pending = host.notes.pending
    if pending:
        left = max(0, round(pending.deadline - boottime()))
        yield f"the last apply is taken back in {left} s unless you run: collector confirm"
    if host.notes.unconfirmed and not (observed and observed.file_error):
        yield "the last apply was not confirmed in time: the configuration before it is in use again"
    if observed:
        yield from filter(None, (observed.file_error, observed.name_error, observed.listen_error))
    yield from filter(None, [refused()])


def _absent(known: Known, counted: counters.SourceCounters, now: float) -> SourceStatus:
    """Its counters are kept until it comes back."""
    frame, sip, rtp = (_age(each, now) for each in (counted.last_frame, counted.last_sip, counted.last_rtp))
    return SourceStatus(
        known.name, known.type, known.interface, UNATTACHED, "", "", counted.frames, counted.bytes,
        counted.passed_frames, counted.drops, frame, sip, rtp,
    )  # fmt: skip


def _age(last: float | None, now: float) -> float | None:
    return None if last is None else max(0.0, round(now - last, 3))


def _source(source: Source, counted: counters.SourceCounters, host: Host, now: float) -> SourceStatus:
    hook, here = attached_hook(source.ifindex, host), host.nic(source.ifindex)
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
        last_frame_age_seconds=_age(counted.last_frame, now),
        last_sip_age_seconds=_age(counted.last_sip, now),
        last_rtp_age_seconds=_age(counted.last_rtp, now),
        up=hook is not None and here is not None and here.up and here.carrier,
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
    wanted: TMeter,
    host: Host,
    counted: counters.TMeterCounters,
    netlink: IPRoute,
    observed: Observed | None,
) -> TMeterStatus:
    why = host.route.refusal or _way_out(host, netlink)
    if not why and observed and observed.up is False:
        why = observed.probe
    seen = observed or Observed()
    return TMeterStatus(
        wanted.name, str(wanted.address), wanted.port, not why, why, counted.frames, counted.bytes,
        wanted.path_mtu, counted.oversize_frames, seen.hint, seen.round_trip_seconds,
        {kind: count for kind, count, _ in seen.complaints},
    )  # fmt: skip


def _way_out(host: Host, netlink: IPRoute) -> str:
    """What is wrong between this host and the next one; a neighbour stays known without a link."""
    route, here = host.route, host.nic(host.route.ifindex)
    if here and not here.carrier:
        return f"{here.name} has no link; is the cable in?"
    answers = tmeter.neighbour_state(netlink, tmeter.Neighbour(route.ifindex, route.next_hop))
    silent = not answers & tmeter.NUD_VALID
    return f"{route.next_hop} does not answer {resolver(route.next_hop)}" if silent else ""


def _remedy(observed: Observed | None) -> str:
    return "the agent will put it right" if observed else "run: collector apply"


def _detached(
    settings: Settings, host: Host, absent: list[Known], observed: Observed | None
) -> Iterator[str]:
    remedy = _remedy(observed)
    then = "it is used as soon as it comes" if observed else "when it is there, run: collector apply"
    for each in absent:
        yield f"source {each.name}: there is no interface {each.interface}; {then}"
    for source in settings.sources:
        here = host.nic(source.ifindex)
        if here is None:
            yield f"source {source.name}: its interface is gone"
        elif attached_hook(source.ifindex, host) is None:
            yield f"source {source.name}: nothing is attached to {here.name}; {remedy}"
    for place in sorted(host.state.lost):
        if host.nic(place.ifindex) and attached_hook(place.ifindex, host):
            yield (
                f"somebody took the program away from {interface_name(host, place.ifindex)} at {place.hook}; "
                f"{remedy}"
            )
    for tuning, value in host.notes.tuned.items():
        now = host.tunings.get(tuning)
        if now not in (None, value) and tuning.name != "up":
            where = f"{interface_name(host, tuning.ifindex)} {tuning.name}"
            yield f"somebody changed {where} from {value} to {now}; {remedy}"
    if Place(AT_SPLITTER, Hook.TC) not in host.state.programs or not host.state.splitter:
        yield f"the splitter (collector-tx, collector-rx) is not as it should be; {remedy}"


def _down(settings: Settings, host: Host) -> Iterator[str]:
    """Attached as it should be, and yet no frame can come."""
    names = {each.name: each.interface for each in host.notes.sources}
    for source in settings.sources:
        here = host.nic(source.ifindex)
        if here is None:
            continue
        if not here.up:
            yield f"source {source.name}: {here.name} is down"
        elif not here.carrier:
            yield f"source {source.name}: {here.name} has no link; is the cable in?"
        wanted = names.get(source.name, here.name)
        if ":" not in wanted and wanted != here.name:
            yield f"source {source.name}: {wanted} is called {here.name} now; write that in the file"
