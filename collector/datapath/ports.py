"""Which ports carry telephony, so that the program can say when the last of it came."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

ALL = 1 << 16


class Telephony(IntEnum):
    """enum telephony of bpf/shared.h."""

    SIP = 1
    RTP = 2


@dataclass(frozen=True, order=True)
class Ports:
    """UDP and TCP ports, from `first` to `last`, that carry one kind of telephony."""

    first: int
    last: int
    kind: Telephony


def telephony(sip: Iterable[tuple[int, int]], rtp: Iterable[tuple[int, int]]) -> tuple[Ports, ...]:
    """In order, joined where they touch. Of the ports that both name, SIP has them."""
    table = bytearray(ALL)
    for kind, ranges in ((Telephony.RTP, rtp), (Telephony.SIP, sip)):
        for first, last in ranges:
            table[first : last + 1] = bytes([kind]) * (last + 1 - first)
    return decode_ports(bytes(table))


def encode_ports(telephony: Iterable[Ports]) -> bytes:
    """telephony_ports of bpf/shared.h: a byte a port."""
    table = bytearray(ALL)
    for each in telephony:
        table[each.first : each.last + 1] = bytes([each.kind]) * (each.last + 1 - each.first)
    return bytes(table)


def decode_ports(table: bytes) -> tuple[Ports, ...]:
    found = re.finditer(rb"\x01+|\x02+", table)
    return tuple(Ports(run.start(), run.end() - 1, Telephony(run[0][0])) for run in found)
