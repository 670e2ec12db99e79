"""What a probe's outcome means, what is said about it, and what ICMP errors say, forged ones included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.packet import Packet, Raw

from collector.control.patherrors import NONE_SEEN, PathError, in_words, is_ours
from collector.control.probe import Attempt, ProbeResult, hint, judge
from collector.datapath import icmp
from collector.datapath.settings import Oversize, TMeter

HERE, TO, ROUTER = "192.0.2.1", "203.0.113.10", "198.51.100.254"
HERE6, TO6, ROUTER6 = "2001:db8::1", "2001:db8:7::10", "2001:db8:1::fe"
T_METER = TMeter("ohio", ip_address(HERE), ip_address(TO), 4789, 1500, Oversize.FRAGMENT, 2)
OURS = icmp.Datagram(ip_address(HERE), ip_address(TO), 50000, 4789)
SILENT = Attempt(failure="203.0.113.10 does not answer ping", advice="ask it")
DOWN_WORDS = "203.0.113.10 does not answer ping (3 times in a row, or more); ask it"
UP, DOWN = ProbeResult(True, 0.0, 0.02), ProbeResult(False, 0.0, None, 3, DOWN_WORDS)
UNKNOWN = ProbeResult(None, 0.0)


def test_one_answer_is_up() -> None:
    assert judge(UNKNOWN, Attempt(0.03), 5.0) == ProbeResult(True, 5.0, 0.03)
    assert judge(DOWN, Attempt(0.03), 5.0) == ProbeResult(True, 5.0, 0.03)
    assert judge(replace(UP, failures=2), Attempt(0.03), 5.0) == ProbeResult(True, 0.0, 0.03)


@pytest.mark.parametrize("start", [UNKNOWN, UP])
def test_three_failures_in_a_row_are_down(start: ProbeResult) -> None:
    one = judge(start, SILENT, 1.0)
    two = judge(one, SILENT, 2.0)
    three = judge(two, SILENT, 3.0)
    assert (one, two) == (replace(start, failures=1), replace(start, failures=2))
    assert three == ProbeResult(False, 3.0, None, 3, DOWN_WORDS)
    assert judge(three, SILENT, 4.0) == replace(three, failures=4)


# The hint


def seen(**last: float) -> Mapping[str, PathError]:
    return {kind: PathError(kind, 1, ROUTER, None, when, when, f"said {kind}") for kind, when in last.items()}


@pytest.mark.parametrize(
    ("result", "frames_flow", "errors", "expected"),
    [
        (UP, True, NONE_SEEN, ""),
        (UNKNOWN, True, NONE_SEEN, ""),
        (UP, False, NONE_SEEN, f"{TO} answers, but no frame comes from any source: check the mirror"),
        (UNKNOWN, False, NONE_SEEN, "no frame comes from any source: check the mirror"),
        (
            DOWN,
            True,
            NONE_SEEN,
            (
                f"frames leave for {TO} all the same, since VXLAN needs no answer, but nobody knows whether "
                f"they arrive: {DOWN_WORDS}"
            ),
        ),
        (DOWN, False, NONE_SEEN, DOWN_WORDS),
        (UP, True, seen(port_unreachable=70.0, prohibited=90.0), "said prohibited"),
        (DOWN, True, seen(port_unreachable=90.0), "said port_unreachable"),
        (UP, True, seen(port_unreachable=30.0), ""),
        (DOWN, False, seen(port_unreachable=90.0), DOWN_WORDS),
    ],
)
def test_hint(result: ProbeResult, frames_flow: bool, errors: Mapping[str, PathError], expected: str) -> None:
    said = hint(result, frames_flow=frames_flow, errors=errors, now=100.0, address=ip_address(TO))
    assert said == expected


# ICMP errors


def quoted(**ip: object) -> Packet:
    return IP(src=HERE, dst=TO, **ip) / UDP(sport=50000, dport=4789) / Raw(bytes(20))


def error(header: Packet, quote: Packet | None = None) -> bytes:
    return bytes(IP(src=ROUTER, dst=HERE) / header / (quote or quoted()))


def error6(header: Packet, *extension: Packet) -> bytes:
    packet = IPv6(src=HERE6, dst=TO6)
    for each in extension:
        packet /= each
    return bytes(header / packet / UDP(sport=50000, dport=4789, chksum=1) / Raw(bytes(20)))


def parsed(packet: bytes, version: int = 4) -> icmp.Error | None:
    return icmp.parse_error(version, packet, ip_address(ROUTER if version == 4 else ROUTER6))


@pytest.mark.parametrize(
    ("kind", "code", "meaning", "mtu"),
    [
        (3, 0, "network_unreachable", None),
        (3, 1, "host_unreachable", None),
        (3, 3, "port_unreachable", None),
        (3, 4, "fragmentation_needed", 1400),
        (3, 13, "prohibited", None),
        (11, 0, "time_exceeded", None),
        (11, 1, "fragments_lost", None),
    ],
)
def test_an_error_says_what_it_quotes(kind: int, code: int, meaning: str, mtu: int | None) -> None:
    header = ICMP(type=kind, code=code, **({"nexthopmtu": mtu} if mtu else {}))
    assert parsed(error(header)) == icmp.Error(meaning, ip_address(ROUTER), OURS, mtu)


@pytest.mark.parametrize(
    ("header", "meaning", "mtu"),
    [
        (ICMPv6DestUnreach(code=0), "network_unreachable", None),
        (ICMPv6DestUnreach(code=1), "prohibited", None),
        (ICMPv6DestUnreach(code=3), "host_unreachable", None),
        (ICMPv6DestUnreach(code=4), "port_unreachable", None),
        (ICMPv6PacketTooBig(mtu=1400), "fragmentation_needed", 1400),
        (ICMPv6TimeExceeded(code=0), "time_exceeded", None),
        (ICMPv6TimeExceeded(code=1), "fragments_lost", None),
    ],
)
@pytest.mark.parametrize("extension", [(), (IPv6ExtHdrFragment(m=1, nh=17),)])
def test_an_icmpv6_error_says_what_it_quotes(
    header: Packet, meaning: str, mtu: int | None, extension: tuple[Packet, ...]
) -> None:
    ours = icmp.Datagram(ip_address(HERE6), ip_address(TO6), 50000, 4789)
    assert parsed(error6(header, *extension), 6) == icmp.Error(meaning, ip_address(ROUTER6), ours, mtu)


UNREACHABLE = ICMP(type=3, code=3)
GOOD = error(UNREACHABLE)
NOT_ERRORS = {
    "nothing": b"",
    "a bare IP header": GOOD[:20],
    "quote cut within IP": error(UNREACHABLE, Raw(bytes(quoted())[:19])),
    "quote cut within UDP": error(UNREACHABLE, Raw(bytes(quoted())[:27])),
    "quoted header length lies": error(UNREACHABLE, Raw(b"\x4f" + bytes(quoted())[1:28])),
    "quoted header length too small": error(UNREACHABLE, Raw(b"\x41" + bytes(quoted())[1:])),
    "header length lies": b"\x4f" + GOOD[1:30],
    "header length too small": b"\x40" + GOOD[1:],
    "quotes IPv6": error(UNREACHABLE, IPv6(src=HERE6, dst=TO6) / UDP(sport=50000, dport=4789)),
    "quotes TCP": error(UNREACHABLE, quoted(proto=6)),
    "quotes a later fragment": error(UNREACHABLE, quoted(frag=10)),
    "wrong checksum": GOOD[:22] + bytes([GOOD[22] ^ 1]) + GOOD[23:],
    "no error": error(ICMP(type=8)),
    "unknown code": error(ICMP(type=3, code=99)),
}


@pytest.mark.parametrize("packet", NOT_ERRORS.values(), ids=list(NOT_ERRORS))
def test_what_is_no_error_for_a_datagram_is_nothing(packet: bytes) -> None:
    assert parsed(packet) is None


def test_a_quote_with_ip_options_is_read() -> None:
    found = parsed(error(UNREACHABLE, quoted(options=b"\x01" * 40)))
    assert found is not None
    assert found.datagram == OURS


@pytest.mark.parametrize("mtu", [0, 1, 67])
def test_an_mtu_that_cannot_be_is_not_told(mtu: int) -> None:
    found = parsed(error(ICMP(type=3, code=4, nexthopmtu=mtu)))
    assert found == icmp.Error("fragmentation_needed", ip_address(ROUTER), OURS, None)


@pytest.mark.parametrize("mtu", [0, 1279, 65536, 0xFFFFFFFF])
def test_an_ipv6_mtu_that_cannot_be_is_not_told(mtu: int) -> None:
    found = parsed(error6(ICMPv6PacketTooBig(mtu=mtu)), 6)
    assert found is not None
    assert (found.kind, found.mtu) == ("fragmentation_needed", None)


@given(st.binary(max_size=200), st.sampled_from([4, 6]))
def test_any_bytes_are_read_without_an_exception(packet: bytes, version: int) -> None:
    found = parsed(packet, version)
    assert found is None or found.kind in icmp.KINDS


@given(st.integers(0, len(GOOD)), st.integers(0, 255))
def test_a_cut_or_changed_error_is_nothing_or_itself(at: int, byte: int) -> None:
    assert parsed(GOOD[:at]) in (None, parsed(GOOD))
    changed = parsed(GOOD[:at] + bytes([byte]) + GOOD[at + 1 :])
    assert changed is None or changed.kind == "port_unreachable"


@pytest.mark.parametrize(
    "other",
    [
        {"source": ip_address("192.0.2.9")},
        {"destination": ip_address("203.0.113.11")},
        {"port": 4790},
        {"source_port": 49151},
    ],
)
def test_only_an_outer_packet_of_ours_counts(other: dict[str, object]) -> None:
    assert is_ours(OURS, T_METER)
    assert not is_ours(replace(OURS, **other), T_METER)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "reporter", "mtu", "words"),
    [
        (
            "port_unreachable",
            TO,
            None,
            f"{TO} answers that nothing listens on its UDP port 4789: start the t-meter, or correct `port`",
        ),
        (
            "port_unreachable",
            ROUTER,
            None,
            (
                f"{ROUTER} says that UDP port 4789 of {TO} is closed: start the t-meter, correct `port`, or "
                "open that port in the firewall there"
            ),
        ),
        (
            "network_unreachable",
            ROUTER,
            None,
            f"{ROUTER} says that it knows no way to {TO}: is `address` right, is a route missing?",
        ),
        (
            "host_unreachable",
            HERE,
            None,
            (
                f"this machine says that {TO} does not answer in its own network: is it switched on, and is "
                "`address` right?"
            ),
        ),
        (
            "prohibited",
            ROUTER,
            None,
            f"{ROUTER} says that a firewall forbids what is sent to {TO}: let UDP port 4789 pass there",
        ),
        (
            "time_exceeded",
            ROUTER,
            None,
            f"{ROUTER} says that what is sent to {TO} goes round in circles: mend the routes there",
        ),
        (
            "fragments_lost",
            TO,
            None,
            (
                f"{TO} says that it gets only some fragments of the larger outer packets: let fragments pass "
                "the firewalls on the way, or choose `oversize: slice`"
            ),
        ),
        (
            "fragmentation_needed",
            ROUTER,
            1400,
            (
                f"{ROUTER} says that packets over 1400 bytes do not pass: the way to {TO} is narrower than "
                "1500; give the route to it mtu 1400, and run: collector apply"
            ),
        ),
        (
            "fragmentation_needed",
            ROUTER,
            None,
            (
                f"{ROUTER} says that some packets to {TO} are too large for the way, but not how large they "
                "may be: give the route to it an mtu below 1500, and run: collector apply"
            ),
        ),
    ],
)
def test_words(kind: str, reporter: str, mtu: int | None, words: str) -> None:
    assert in_words(icmp.Error(kind, ip_address(reporter), OURS, mtu), T_METER) == words


def test_a_reply_is_only_to_its_own_request() -> None:
    request = icmp.echo_request(4, 1, 2, b"nonce")
    reply = IP(src=TO, dst=HERE) / ICMP(type=0, id=1, seq=2) / Raw(b"nonce")
    assert icmp.answers(4, bytes(reply), request)
    assert not icmp.answers(4, bytes(reply), icmp.echo_request(4, 1, 3, b"nonce"))
    assert not icmp.answers(4, bytes(reply), icmp.echo_request(4, 1, 2, b"other"))
    assert not icmp.answers(4, bytes(IP(src=TO, dst=HERE)) + request, request)
    assert not icmp.answers(4, b"", request)
    assert bytes(ICMP(type=8, id=1, seq=2) / Raw(b"nonce")) == request
