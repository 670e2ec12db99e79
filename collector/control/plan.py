"""From the configuration and the host to what should run, and from there to the changes.

Nothing here asks the kernel or changes anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_interface
from typing import Any

from collector.control.changes import (
    Attach,
    Change,
    Detach,
    DropSplitter,
    ForgetNeighbour,
    KeepNeighbour,
    Load,
    MakeSplitter,
    Replace,
    Tune,
    WatchLosses,
)  # fmt: skip
from collector.control.config import digest
from collector.control.hooks import choose_hook, in_words, refusal, source_nics
from collector.control.host import LOOPBACK, Host
from collector.control.models import Config, Source, SpanSource, VniMap
from collector.control.notes import Known, Tuning
from collector.control.state import AT_SPLITTER, Place, State
from collector.datapath import nic, settings
from collector.datapath.attach import BYSTANDER, FORWARD_TC, FORWARD_XDP, Hook
from collector.datapath.nic import Nic
from collector.datapath.ports import telephony
from collector.datapath.tmeter import Neighbour

ANY_SENDER = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
_LATE = ("promiscuous", "up")  # once the program is attached, so that the host sees no mirrored frame


@dataclass(frozen=True)
class Plan:
    wanted: State
    changes: tuple[Change, ...]
    to_ask: tuple[int, ...] = ()  # ifindexes whose drivers are asked in passing why they have no XDP


def plan(config: Config, host: Host) -> Plan:
    """`config` must have passed `check` on this host."""
    wanted = wanted_state(config, host) if config.sources else State(digest=digest(config))
    return Plan(wanted, tuple(_changes(host, wanted)), tuple(_to_ask(config, host)))


def _to_ask(config: Config, host: Host) -> Iterator[int]:
    told = {each.ifindex for each in host.notes.refusals if each.role == "source"}
    for ifindex, sources in source_nics(config, host).items():
        if sources[0].hook != "tc" and refusal(ifindex, "source", host) and ifindex not in told:
            yield ifindex


def wanted_state(config: Config, host: Host) -> State:
    route, by_nic = host.route, source_nics(config, host)
    hooks = {ifindex: choose_hook(ifindex, sources, host).hook for ifindex, sources in by_nic.items()}
    programs = {Place(AT_SPLITTER, Hook.TC): FORWARD_TC}
    for ifindex, hook in hooks.items():
        programs[Place(ifindex, Hook.TC)] = FORWARD_TC
        if hook.is_xdp:
            programs[Place(ifindex, hook)] = FORWARD_XDP
    if Hook.XDP_NATIVE in hooks.values() and hooks.get(route.ifindex) is not Hook.XDP_NATIVE:
        programs[Place(route.ifindex, Hook.XDP_NATIVE)] = BYSTANDER
    return State(
        settings=_settings(config, host, by_nic),
        programs=programs,
        tunings=_tunings(by_nic, programs, host),
        neighbour=Neighbour(route.ifindex, route.next_hop),
        losses=host.losses,
        splitter=True,
        counters=True,
        digest=digest(config),
        build=host.build,
        sources=tuple(_known(config, by_nic, host)),
    )


def _known(config: Config, by_nic: Mapping[int, list[Source]], host: Host) -> Iterator[Known]:
    slots, former = _slots(config, host), {each.name: each.ifindex for each in host.notes.sources}
    for source in config.sources:
        here = [ifindex for ifindex, sources in by_nic.items() if source in sources]
        ifindex = here[0] if here else former.get(source.name, 0)
        yield Known(source.name, slots[source.name], source.type, in_words(source.interface), ifindex)


def _settings(config: Config, host: Host, by_nic: Mapping[int, list[Source]]) -> settings.Settings:
    route, t_meter = host.route, config.t_meters[0]
    slots = _slots(config, host)
    sources = [
        _source(source, slots[source.name], ifindex, host)
        for ifindex, here in by_nic.items()
        for source in here
    ]
    return settings.Settings(
        netns=host.netns,
        tmeter=settings.TMeter(
            name=t_meter.name,
            source=route.source,
            address=route.address,
            port=t_meter.port,
            path_mtu=route.path_mtu,
            oversize=settings.Oversize[t_meter.oversize.upper()],
            ifindex=route.ifindex,
            udp_checksum=route.address.version == 6 and t_meter.udp_checksum,
        ),
        sources=tuple(sorted(sources, key=lambda source: source.slot)),
        telephony=telephony(config.telephony.sip, config.telephony.rtp),
    )


def _slots(config: Config, host: Host) -> dict[str, int]:
    """A source keeps its slot, and with it its counters, for as long as its name stays in the file."""
    running = host.state.settings.sources if host.state.settings else ()
    held = {each.name: each.slot for each in running} | {each.name: each.slot for each in host.notes.sources}
    names = [source.name for source in config.sources]
    kept = {name: held[name] for name in names if name in held}
    unused = [slot for slot in range(settings.MAX_SOURCES) if slot not in held.values()]
    free = iter(unused + sorted(set(held.values()) - set(kept.values())))
    return {name: kept[name] if name in kept else next(free) for name in names}


def _source(source: Source, slot: int, ifindex: int, host: Host) -> settings.Source:
    strip, kind = source.vlan == "strip", settings.SourceType[source.type.upper()]
    if isinstance(source, SpanSource):
        here = host.nic(ifindex)
        return settings.Source(
            slot, source.name, kind, ifindex, vni=source.vni, strip_vlan=strip,
            rspan_vlan=source.rspan_vlan or 0, **(_sharing(here, host) if here and source.shared else {}),
        )  # fmt: skip
    rule, vni, entries = _vni(source.vni)
    return settings.Source(
        slot, source.name, kind, ifindex, rule, vni, entries, strip,
        port=getattr(source, "port", 0), senders=settings.in_order(set(source.from_ or ANY_SENDER)),
    )  # fmt: skip


def _sharing(here: Nic, host: Host) -> dict[str, Any]:
    """Without a default route the routing table cannot tell the host's addresses from others.

    A host that has no address yet is left to the table all the same: DHCP may be about to give it one.
    """
    own = [ip_interface(address).ip for address in here.addresses]
    have = {address.version for address in own}
    strict = tuple(sorted(have - host.default_routes))
    listed = [address for address in own if address.version in strict]
    return {"shared_mac": here.mac, "strict": strict, "own": tuple(listed[: settings.MAX_OWN_ADDRESSES])}


def _vni(choice: str | int | VniMap) -> tuple[settings.VniRule, int | None, tuple[tuple[int, int], ...]]:
    if isinstance(choice, VniMap):
        return settings.VniRule.MAP, choice.default, choice.entries
    if isinstance(choice, int):
        return settings.VniRule.FIXED, choice, ()
    return settings.VniRule.KEEP, None, ()


def _tunings(
    by_nic: Mapping[int, list[Source]], programs: Mapping[Place, str], host: Host
) -> dict[Tuning, str]:
    """Only what this host has and lets be changed."""
    family, survive = ("ipv6", "ndisc") if host.route.address.version == 6 else ("ipv4", "arp")
    wanted = {
        Tuning(LOOPBACK, "sysctl", f"{family}.forwarding"): "1",
        Tuning(host.route.ifindex, "sysctl", f"{family}.{survive}_evict_nocarrier"): "0",
    }
    # The box's own addresses are asked for by both families on a NIC that it shares.
    if any(isinstance(each, SpanSource) and each.shared for here in by_nic.values() for each in here):
        wanted |= {Tuning(LOOPBACK, "sysctl", f"{each}.forwarding"): "1" for each in ("ipv4", "ipv6")}
    for place in programs:
        if place.hook.is_xdp:
            wanted |= {Tuning(place.ifindex, "feature", name): "off" for name in nic.MERGING}
    for ifindex, sources in by_nic.items():
        if isinstance(sources[0], SpanSource):
            wanted |= {Tuning(ifindex, "feature", name): "off" for name in nic.ALTERING}
            if not sources[0].shared:
                wanted[Tuning(ifindex, "sysctl", "ipv6.disable_ipv6")] = "1"
            wanted |= {Tuning(ifindex, "flag", name): "on" for name in _LATE}
    return {tuning: value for tuning, value in wanted.items() if _changeable(tuning, host)}


def _changeable(tuning: Tuning, host: Host) -> bool:
    if tuning.kind != "feature":
        return tuning in host.tunings
    here = host.nic(tuning.ifindex)
    feature = here.features.get(tuning.name) if here else None
    return feature is not None and feature.changeable


def _changes(host: Host, wanted: State) -> Iterator[Change]:
    """In this order no frame reaches the host, is lost or is sent twice while they are made."""
    now = host.state
    old, new = now.programs, wanted.programs
    same = all(
        getattr(wanted, each) == getattr(now, each)
        for each in ("settings", "build", "losses", "splitter", "counters")
    )
    reload = not same or any(old.get(place) != new[place] for place in new)
    missing = {key: value for key, value in wanted.tunings.items() if host.tunings.get(key) != value}
    late = {key: value for key, value in missing.items() if key.kind == "flag"}
    stale = {
        key: value
        for key, value in host.notes.origins.items()
        if key not in wanted.tunings and host.tunings.get(key) not in (None, value)
    }
    yield from _tune({key: missing[key] for key in missing.keys() - late.keys()}, host)
    if wanted.neighbour and wanted.neighbour != now.neighbour:
        yield KeepNeighbour(wanted.neighbour)
    if wanted.splitter and not now.splitter:
        yield MakeSplitter()
    if wanted.settings and reload:
        yield Load(wanted.settings, now.settings)
        if wanted.losses:
            yield WatchLosses()
        yield from _attach(old, new, host)
    yield from _tune(late, host)
    flags = {key: value for key, value in stale.items() if key.kind == "flag"}
    yield from _tune(flags, host)
    there = {**dict.fromkeys(now.lost, ""), **old}  # of what is lost, a pin is left
    gone = sorted((place for place in there if place not in new), key=partial(_leaving, there))
    yield from (Detach(place, host_name(host, place)) for place in gone if not _in_the_way(place, new))
    if now.neighbour and now.neighbour != wanted.neighbour:
        yield ForgetNeighbour(now.neighbour)
    yield from _tune({key: stale[key] for key in stale.keys() - flags.keys()}, host)
    if host.splitter and not wanted.splitter:
        yield DropSplitter()


def _leaving(programs: Mapping[Place, str], place: Place) -> tuple[bool, bool, bool, Place]:
    """Nothing goes while another still hands frames to it."""
    bystander = programs[place] == BYSTANDER
    return not place.hook.is_xdp, bystander, place.ifindex == AT_SPLITTER, place


def _attach(old: Mapping[Place, str], new: Mapping[Place, str], host: Host) -> Iterator[Change]:
    """tc before XDP, which leaves frames to it; the NIC towards the t-meter before the sources."""

    def order(place: Place) -> tuple[bool, bool]:
        return place.hook.is_xdp, new[place] == FORWARD_XDP

    for place in sorted(new, key=order):
        if place in old:
            yield Replace(place, host_name(host, place), new[place])
            continue
        for other in old:
            if _same_xdp(other, place):
                yield Detach(other, host_name(host, other))
        yield Attach(place, host_name(host, place), new[place])


def _same_xdp(one: Place, other: Place) -> bool:
    """A NIC takes XDP natively or generically, not both at once."""
    return one != other and one.ifindex == other.ifindex and one.hook.is_xdp and other.hook.is_xdp


def _in_the_way(place: Place, new: Mapping[Place, str]) -> bool:
    return any(_same_xdp(place, other) for other in new)


def _tune(tunings: Mapping[Tuning, str], host: Host) -> Iterator[Change]:
    for tuning, value in sorted(tunings.items(), key=lambda item: item[0]):
        yield Tune(tuning, interface_name(host, tuning.ifindex), host.tunings[tuning], value)


def interface_name(host: Host, ifindex: int) -> str:
    here = host.nic(ifindex)
    return here.name if here else "lo" if ifindex == LOOPBACK else f"interface {ifindex}"


def host_name(host: Host, place: Place) -> str:
    return "the splitter" if place.ifindex == AT_SPLITTER else interface_name(host, place.ifindex)
