"""The page of what must be open names all that the appliance lets in, and what sources and t-meters need."""

from __future__ import annotations

import re

from collector.control.models import SOURCE_CLASSES, Metrics, TMeter
from collector.datapath.settings import _CARRIERS, SourceType
from tests.lib.given import ROOT

PAGE = (ROOT / "docs/firewall.md").read_text()
NFTABLES = (ROOT / "image/root/etc/nftables.conf").read_text()
ROWS = re.findall(r"^\| (.+?) \| (in|out) \| .* \| (.+?) \|$", PAGE, re.MULTILINE)


def arrivals(kind: str) -> str:
    """What a source of this type arrives at, as the page says it."""
    protocols = [f"{protocol}" for protocol, _payload in _CARRIERS.get(SourceType[kind.upper()], ())]
    if protocols:
        return f"IP protocol{'s' if protocols[1:] else ''} {' and '.join(protocols)}"
    return f"UDP {SOURCE_CLASSES[kind].model_fields['port'].default}"


def test_every_tunnel() -> None:
    said = {
        kind: port
        for port, way, when in ROWS
        if way == "in" and "`type: " in when
        for kind in re.findall(r"`(?:type: )?(\w+)`", when)
        if kind != "port"
    }
    assert said == {kind: arrivals(kind) for kind in SOURCE_CLASSES if kind != "span"}


def test_what_the_appliance_lets_in() -> None:
    inward = {port for port, way, _when in ROWS if way == "in"}
    outward = " ".join(port for port, way, _when in ROWS if way == "out")
    for protocol, server, port in re.findall(r"(tcp|udp) (?:sport (\d+) udp )?dport (\d+) accept", NFTABLES):
        if server:  # the answer of a DHCP server
            assert re.search(rf"\b{server}\b", outward)
        else:
            assert f"{protocol.upper()} {port}" in inward


def test_the_ports_that_may_be_chosen() -> None:
    ports = {(port, way) for port, way, _when in ROWS}
    assert (f"TCP {Metrics().endpoints[0][1]}", "in") in ports
    assert (f"UDP {TMeter.model_fields['port'].default}", "out") in ports
