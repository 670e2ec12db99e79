"""Holds a configuration against this host. What is wrong stops everything; the rest is a warning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path as FilePath

from collector.control.config import ConfigFile
from collector.control.conflicts import clash
from collector.control.document import Path as Keys
from collector.control.hooks import choose_hook, find_nic, source_nic, source_nics
from collector.control.host import Host
from collector.control.models import ByMac, Source, SpanSource
from collector.datapath import nic
from collector.datapath.nic import Nic
from collector.datapath.vxlan import ETHERNET_HEADER, OUTER_IP_OVERHEAD, OUTER_IPV6_OVERHEAD
from collector.errors import HostError, InputError

LEAST_PATH_MTU = {4: 576, 6: 1280}  # bytes that every host takes (RFC 791, RFC 8200)

Problem = tuple[Keys, str]


def check(file: ConfigFile, host: Host, *, wait: bool = False) -> tuple[str, ...]:
    """Returns warnings. InputError: the file is wrong for this host; HostError: the host is not ready.

    `wait`: an interface that is not there may still come.
    """
    problems = [*_source_problems(file, host, wait), *_t_meter_problems(file, host)]
    if problems:
        for keys, words in problems:
            file.document.complain(keys, words)
        raise file.document.error(file.filename)
    if file.config.sources:
        _require_ready(file, host)
    return (*_warnings(file, host), *_metrics_warnings(file))


def _source_problems(file: ConfigFile, host: Host, wait: bool) -> Iterator[Problem]:
    seen: list[tuple[Source, Nic]] = []
    for index, source in enumerate(file.config.sources):
        here = source_nic(source, host) if wait else find_nic(source.interface, host)
        keys = ("sources", index, "interface")
        if here is None:
            if not wait:
                yield keys, _missing(source, host)
            continue
        for earlier, its_nic in seen:
            if here.ifindex == its_nic.ifindex:
                yield from _together(earlier, source, here, index)
        seen.append((source, here))
        if isinstance(source, SpanSource):
            yield from _stack_problems(here, host, keys)
            yield from (_shared_problems(here, keys) if source.shared else _span_problems(here, host, keys))


def _missing(source: Source, host: Host) -> str:
    wanted = source.interface
    what = f"MAC address {wanted.mac}" if isinstance(wanted, ByMac) else f"name {wanted}"
    there = ", ".join(f"{each.name} ({each.mac})" for each in host.nics) or "none"
    return f"there is no interface with the {what}; this host has {there}"


def _together(first: Source, second: Source, here: Nic, index: int) -> Iterator[Problem]:
    one, other = (each.model_copy(update={"interface": here.name}) for each in (first, second))
    words = clash(one, other) if first.interface != second.interface else None
    if words:
        yield ("sources", index, "interface"), f"source '{first.name}' {words}"
    if first.hook != second.hook:
        yield (
            ("sources", index, "hook"),
            f"source '{first.name}' on {here.name} says {first.hook}; one NIC has one hook: use the same",
        )


def _stack_problems(here: Nic, host: Host, keys: Keys) -> Iterator[Problem]:
    """A span source takes every frame before a bridge, a bond or a VLAN device gets it."""
    uppers = [each.name for each in host.nics if each.lower == here.ifindex]
    master = host.nic(here.master)
    if master:
        uppers.append(master.name)
    if uppers:
        yield (
            keys,
            f"{', '.join(uppers)} stands on {here.name} and would get no frame any more; use another NIC",
        )


def _span_problems(here: Nic, host: Host, keys: Keys) -> Iterator[Problem]:
    """A span source takes every frame, the host's own too."""
    if here.addresses:
        words = (
            f"{here.name} has the address {here.addresses[0]}, by which this host would no longer be "
            "reached; use a NIC without an address, or write shared: true"
        )
        yield keys, words
    elif host.route.ifindex == here.ifindex:
        yield keys, f"{here.name} is also the way to the t-meter; use another NIC, or write shared: true"


def _shared_problems(here: Nic, keys: Keys) -> Iterator[Problem]:
    if not re.search("[1-9a-f]", here.mac):
        words = (
            f"{here.name} has no MAC address, by which frames for this host could be told from mirrored "
            "ones; use another NIC, or remove shared: true"
        )
        yield keys, words


def _t_meter_problems(file: ConfigFile, host: Host) -> Iterator[Problem]:
    if "address of this host" in host.route.refusal:
        address = file.config.t_meters[0].address
        yield (
            ("t_meters", 0, "address"),
            f"{address} is an address of this host; write the t-meter's own address",
        )


def _require_ready(file: ConfigFile, host: Host) -> None:
    t_meter, route = file.config.t_meters[0], host.route
    if route.refusal:
        raise HostError(
            f"the t-meter '{t_meter.name}' ({t_meter.address}) cannot be reached: {route.refusal}",
            "Give this host an address and a route to it, or correct the address.",
        )
    egress = host.nic(route.ifindex)
    if egress and not egress.ethernet:
        raise HostError(
            f"the way to the t-meter is {egress.name}, a tunnel that carries no Ethernet",
            "End the VPN on the router before this host, or use one that carries Ethernet.",
        )
    least = LEAST_PATH_MTU[route.address.version]
    if route.path_mtu < least:
        raise HostError(
            f"the way to the t-meter takes packets of {route.path_mtu} bytes only",
            f"It must take {least} at least: look at the MTU of the NIC and of the route.",
        )
    for ifindex, sources in source_nics(file.config, host).items():
        here = host.nic(ifindex)
        if here and sources[0].hook != "tc":
            _require_free_xdp(here, host)


def _has_strange_xdp(here: Nic, host: Host) -> bool:
    return bool(here.xdp_program) and here.xdp_program not in host.state.own_programs


def _require_free_xdp(here: Nic, host: Host) -> None:
    if _has_strange_xdp(here, host):
        raise HostError(
            f"another program (id {here.xdp_program}) is attached to {here.name} at XDP",
            f"Detach it: ip link set dev {here.name} xdp off (or xdpgeneric off); or set hook: tc.",
        )


def _warnings(file: ConfigFile, host: Host) -> Iterator[str]:
    for ifindex, sources in source_nics(file.config, host).items():
        here = host.nic(ifindex)
        if here is None:
            continue
        names = ", ".join(source.name for source in sources)
        if not here.carrier and here.up:
            yield f"source {names}: {here.name} has no link; is the cable in?"
        if not here.up and not isinstance(sources[0], SpanSource):
            yield f"source {names}: {here.name} is down; nothing arrives there"
        if isinstance(sources[0], SpanSource):
            yield from _sharing_warning(sources[0], host, here)
            yield from _oversize_warning(file, host, here, names)
            yield from _fixed_offloads(here, names)
        if choose_hook(ifindex, sources, host).hook == "tc" and _has_strange_xdp(here, host):
            yield f"source {names}: another program is attached to {here.name} at XDP, and sees frames first"


def _metrics_warnings(file: ConfigFile) -> Iterator[str]:
    """No error: frames do not wait for somebody's certificate."""
    from collector.control.http.webconfig import load_web  # slow, and rarely needed

    if file.config.metrics.web_config:
        try:
            load_web(FilePath(file.config.metrics.web_config))
        except InputError as error:
            yield f"metrics: nothing is served until this is mended: {error}"


def _sharing_warning(source: SpanSource, host: Host, here: Nic) -> Iterator[str]:
    if source.shared and not here.addresses and here.ifindex != host.route.ifindex:
        yield (
            f"source {source.name}: {here.name} has no address and is not the way to the t-meter: "
            "nothing of this host's is there to share, so shared: true can go"
        )


def _oversize_warning(file: ConfigFile, host: Host, here: Nic, names: str) -> Iterator[str]:
    overhead = OUTER_IPV6_OVERHEAD if host.route.address.version == 6 else OUTER_IP_OVERHEAD
    largest = here.mtu + ETHERNET_HEADER + overhead
    action = {"fragment": "go in IP fragments", "slice": "are cut", "drop": "are dropped"}
    if largest > host.route.path_mtu:
        yield (
            f"source {names}: the largest frames of {here.name} (MTU {here.mtu}) need packets of {largest} "
            f"bytes and the way to the t-meter takes {host.route.path_mtu}: they "
            f"{action[file.config.t_meters[0].oversize]}"
        )


def _fixed_offloads(here: Nic, names: str) -> Iterator[str]:
    for name in nic.ALTERING:
        feature = here.features.get(name)
        if feature and feature.on and not feature.changeable:
            effect = "several frames can arrive as one" if name in nic.MERGING else "VLAN tags can be lost"
            yield f"source {names}: the driver of {here.name} cannot switch {name} off: {effect}"
