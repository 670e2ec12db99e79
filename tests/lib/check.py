"""The two sentences that nearly every test of the data path ends with."""

from __future__ import annotations

from tests.lib.datapath import Datapath, Hook, Outcome, dropped, sent
from tests.lib.outer import outer_packet, source_port

NO_CHANGE: dict[str, int] = {}


def assert_sent(
    outcome: Outcome,
    source: str,
    inner: bytes,
    vni: int,
    *,
    received: int | None = None,
    oversize: bool = False,
) -> None:
    """`received`: bytes of the frame as it came, where `inner` is shorter; `oversize`: it was cut."""
    assert outcome.verdict == "sent"
    port = source_port(outcome.packet)
    assert 49152 <= port <= 65535
    to = outcome.tmeter
    expected = outer_packet(
        inner,
        vni,
        source_port=port,
        ip_id=outcome.ip_id,
        source=str(to.source),
        to=str(to.address),
        port=to.port,
        checksum=to.udp_checksum,
    )
    assert outcome.packet.hex(" ") == expected.hex(" ")
    assert outcome.change == sent(source, len(inner) if received is None else received, oversize=oversize)


def assert_dropped(outcome: Outcome, source: str, size: int, reason: str) -> None:
    assert (outcome.verdict, outcome.change) == ("drop", dropped(source, size, reason))


def assert_left_to_tc(datapath: Datapath, packet: bytes, ifindex: int | None = None) -> None:
    """XDP lets the packet go up as it is, and leaves the counting to the tc program."""
    outcome = datapath.run("xdp", packet, ifindex)
    assert (outcome.verdict, outcome.packet, outcome.change) == ("pass", packet, NO_CHANGE)


def assert_passed(outcome: Outcome, hook: Hook, packet: bytes, source: str) -> None:
    """The host's own: untouched at both hooks, and counted at tc, which sees it last."""
    counted = {f"{source} passed": 1} if hook == "tc" else NO_CHANGE
    assert (outcome.verdict, outcome.packet, outcome.change) == ("pass", packet, counted)
