"""What is wrong between the parts of one configuration, each of which is right by itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from pydantic import TypeAdapter

from collector.control.document import Document
from collector.control.models import (
    AnySource,
    ByMac,
    ErspanSource,
    GreSource,
    IpipSource,
    Source,
    SpanSource,
    TunnelSource,
)
from collector.control.values import Network

MOST_INTERFACES = 16

_SOURCE = TypeAdapter[AnySource](Source)


def find_conflicts(document: Document) -> None:
    """After all else has complained: sources that are wrong in themselves are left out."""
    sources = list(_sources(document))
    _count_t_meters(document)
    _compare_names(document, "sources")
    _compare_names(document, "t_meters")
    _count_interfaces(document, sources)
    _compare_claims(document, sources)


def _sources(document: Document) -> Iterator[tuple[int, AnySource]]:
    wrong = {path[1] for _, path in document.problems if path[:1] == ("sources",) and len(path) > 1}
    for index, source in enumerate(document.items("sources")):
        if index not in wrong:
            yield index, _SOURCE.validate_python(source, by_alias=True, by_name=False)


def _count_t_meters(document: Document) -> None:
    t_meters = document.items("t_meters")
    if document.items("sources") and not t_meters:
        document.complain(("t_meters",), "there is none, so frames have nowhere to go; add one")
    if len(t_meters) > 1:
        document.complain(("t_meters", 1), "this version sends to one t-meter; remove all but one")


def _compare_names(document: Document, group: str) -> None:
    lines: dict[str, int] = {}
    for index, item in enumerate(document.items(group)):
        path = (group, index, "name")
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            continue
        if name in lines:
            document.complain(path, f"the name is used already on line {lines[name]}; choose another")
        lines.setdefault(name, document.line(path))


def _count_interfaces(document: Document, sources: list[tuple[int, AnySource]]) -> None:
    seen: set[str | ByMac] = set()
    for index, source in sources:
        seen.add(source.interface)
        if len(seen) > MOST_INTERFACES:
            said = f"this is one interface too many; use at most {MOST_INTERFACES} different ones"
            document.complain(("sources", index, "interface"), said)
            return


def _compare_claims(document: Document, sources: list[tuple[int, AnySource]]) -> None:
    for position, (index, second) in enumerate(sources):
        for earlier, first in sources[:position]:
            if found := clash(first, second):
                place = f"source '{first.name}' on line {document.line(('sources', earlier))}"
                document.complain(("sources", index, "interface"), f"{place} {found}")
                break


def clash(first: AnySource, second: AnySource) -> str | None:
    if first.interface != second.interface:
        return None
    if isinstance(first, SpanSource):
        return "takes everything that this interface receives; give each its own"
    if isinstance(second, SpanSource):
        return "uses this interface too, and a span source needs all of it; give each its own"
    if _carrier(first) == _carrier(second) and _overlap(first.from_, second.from_):
        return f"takes {_carrier(first)} from the same senders; change {_ways_out(first)}"
    return None


def _carrier(source: TunnelSource) -> str:
    """By what its packets are known among those of one sender."""
    if isinstance(source, GreSource | ErspanSource | IpipSource):
        return {"gre": "GRE", "erspan": "ERSPAN", "ipip": "IP in IP"}[source.type]
    return f"port {source.port}"


def _ways_out(source: TunnelSource) -> str:
    return "'port' or 'from'" if hasattr(source, "port") else "'from'"


def _overlap(first: tuple[Network, ...], second: tuple[Network, ...]) -> bool:
    if not first or not second:
        return True
    return any(a <= d and c <= b for a, b in _ranges(first) for c, d in _ranges(second))


@cache
def _ranges(networks: tuple[Network, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """First and last address of each, IPv4 ones before IPv6 ones."""
    return [
        ((network.version, int(network.network_address)), (network.version, int(network.broadcast_address)))
        for network in networks
    ]
