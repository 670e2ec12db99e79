"""Packets that are not what they should be, and how many of them were tried."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import strategies as st

from collector.datapath.settings import SourceType
from tests.lib import tunnels
from tests.lib.datapath import Hook
from tests.lib.decapsulation import UDP
from tests.lib.samples import ANYTHING, LOOPS, MIRROR, mirrored, sized
from tests.lib.tally import tally
from tests.lib.tunnels import CARRIERS, MIRROR6, RICHEST, TEB, Payload, carried

# What docs/datapath.md states: cases by what they were.
tried = tally("Hostile packets")
between_namespaces = tally("Hostile packets between namespaces")

LEAST = {"xdp": 14, "tc": 15}  # bytes that a test run takes
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"


def possible(hook: Hook, packet: bytes) -> bool:
    """Whether the kernel's test run takes it: at tc no IP header that is cut short."""
    least = {IPV4: 34, IPV6: 54}.get(packet[12:14], LEAST[hook]) if hook == "tc" else LEAST[hook]
    return len(packet) >= least


MIRRORED = st.sampled_from(
    [*ANYTHING.values(), *LOOPS.values(), *tunnels.OVERLAYS.values()]
    + [sized(size) for size in (580, 600, 644, 645, 664, 665, 1000)]
)
LYING_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "ip_len": st.integers(0, 65535),
        "ip_ihl": st.integers(0, 15),
        "ip_proto": st.integers(0, 255),
        "ip_frag": st.integers(0, 8191),
        "ip_flags": st.integers(0, 7),
        "ip_src": st.sampled_from([MIRROR, "203.0.113.9", "10.0.0.1"]),
        "ip_options": st.integers(0, 10).map(lambda words: "\x01" * (4 * words)),
        "udp_len": st.integers(0, 200) | st.integers(0, 65535),
        "udp_dport": st.sampled_from([4789, 4790, 0]),
        "vxlan_flags": st.sampled_from([0, 0x08, 0x7B, 0x73]),
        "vxlan_vni": st.sampled_from([0, 17, 18, 2**24 - 1]),
        "behind": st.binary(max_size=80),
    },
)
TUNNELLED = st.builds(lambda inner, fields: mirrored(inner, **fields), MIRRORED, LYING_FIELDS)
CUT_INSIDE = st.builds(
    lambda frame, size, behind: mirrored(frame[:size], behind=frame[size:] if behind else b""),
    MIRRORED,
    st.integers(0, 120),
    st.booleans(),
)


@st.composite
def damaged(draw: st.DrawFn, packets: st.SearchStrategy[bytes], last: int = 110) -> bytes:
    """Cut short, lengthened, with single bytes changed; mostly in the headers, up to byte `last`."""
    packet = bytearray(draw(packets))
    for at, value in draw(st.lists(st.tuples(st.integers(0, last), st.integers(0, 255)), max_size=4)):
        packet[at % len(packet)] = value
    if draw(st.booleans()):
        del packet[draw(st.integers(14, last + 50)) :]
    return bytes(packet) + draw(st.binary(max_size=30))


NOISE = st.one_of(
    st.binary(min_size=14, max_size=300),
    st.binary(min_size=2, max_size=100).map(lambda rest: bytes(12) + IPV4 + rest),
    st.binary(min_size=2, max_size=100).map(lambda rest: bytes(12) + IPV6 + rest),
)

# The same two without hypothesis, which takes its time.


def damage(chance: Random, packet: bytes) -> bytes:
    changed = bytearray(packet)
    for _ in range(chance.randint(0, 4)):
        changed[chance.randrange(min(len(changed), 160))] = chance.choice((0, 0xFF, chance.randrange(256)))
    if chance.random() < 0.5:
        del changed[chance.randrange(14, len(changed) + 1) :]
    return bytes(changed) + (chance.randbytes(chance.randint(1, 30)) if chance.random() < 0.5 else b"")


def noise(chance: Random) -> bytes:
    ethertype = chance.choice((IPV4, IPV6, b"\x81\x00", chance.randbytes(2)))
    return bytes(12) + ethertype + chance.randbytes(chance.randint(0, 200))


# Builders of one kind each, with whatever its header may say.

BITS = st.integers(0, 1)
SOME_OPTIONS = st.integers(0, 63).map(lambda words: b"\x5a" * (4 * words))
TYPES = st.sampled_from([TEB, 0x0800, 0x86DD, 0x88BE, 0x22EB, 0x8847, 0])
GRE_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "key_present": BITS,
        "seqnum_present": BITS,
        "chksum_present": BITS,
        "routing_present": BITS,
        "recursion_control": st.integers(0, 7),
        "version": st.sampled_from([0, 0, 0, 1, 7]),
    },
)
ERSPAN3_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "ver": st.sampled_from([2, 2, 1]),
        "session_id": st.integers(0, 1023),
        "ft": st.sampled_from([0, 2, 2, 3]),
        "o": BITS,
        "sgt_other": st.integers(0, 65535),
    },
)
TZSP_TAGS = st.lists(
    st.sampled_from(
        [b"\0", b"\x0a\x01\x05", b"\x0d\x04\0\1\0\1", b"\x40\x1f" + bytes(31), b"\x41\x20" + bytes(32)]
    ),
    max_size=17,
).map(b"".join)
INNER = MIRRORED | MIRRORED.map(lambda frame: frame[14:]) | st.binary(max_size=60)


def _gateways(frame: bytes, version: int, **udp: Any) -> Payload:
    return tunnels.geneve(tunnels.gateway(frame, version, **udp), 0x0800)


PAYLOADS: dict[SourceType, st.SearchStrategy[Payload]] = {
    SourceType.GENEVE: st.builds(
        lambda inner, proto, options, version: tunnels.geneve(inner, proto, options, version=version),
        INNER,
        TYPES,
        SOME_OPTIONS,
        st.sampled_from([0, 0, 0, 1]),
    )
    | st.builds(_gateways, INNER, st.sampled_from([4, 6]), dport=st.sampled_from([4789, 4789, 4790])),
    SourceType.GRE: st.builds(
        lambda inner, kind, fields: tunnels.gre(inner, kind, **fields), INNER, TYPES, GRE_FIELDS
    ),
    SourceType.ERSPAN: st.one_of(
        st.builds(lambda inner, fields: tunnels.erspan1(inner, **fields), INNER, GRE_FIELDS),
        st.builds(
            lambda inner, version, session: tunnels.erspan2(inner, ver=version, session_id=session),
            INNER,
            st.sampled_from([1, 1, 2, 0]),
            st.integers(0, 1023),
        ),
        st.builds(
            lambda inner, platform, fields: tunnels.erspan3(inner, platform, **fields),
            INNER,
            st.binary(max_size=8),
            ERSPAN3_FIELDS,
        ),
    ),
    SourceType.TZSP: st.builds(
        lambda inner, tags, end, kind, inside: tunnels.tzsp(
            inner, tags + end, type=kind, encapsulated_protocol=inside
        ),
        INNER,
        TZSP_TAGS,
        st.sampled_from([b"\1", b"\1", b"\1", b""]),
        st.sampled_from([0, 0, 1, 4]),
        st.sampled_from([1, 1, 1, 18]),
    ),
    SourceType.IPIP: st.builds(lambda inner, protocol: (protocol, inner), INNER, st.sampled_from([4, 41])),
}
SENDERS = {"IPv4": [MIRROR, "203.0.113.9", "10.0.0.1"], "IPv6": [MIRROR6, "2001:db8:ffff::1", "2001:db9::1"]}


@st.composite
def carriers(draw: st.DrawFn, payloads: st.SearchStrategy[Payload]) -> bytes:
    carrier = draw(st.sampled_from(sorted(CARRIERS)))
    ip: dict[str, Any] = {"src": draw(st.sampled_from(SENDERS[carrier[:4]]))}
    if draw(st.integers(0, 3)) == 0:  # a lie about its length
        ip["len" if carrier.startswith("IPv4") else "plen"] = draw(st.integers(28, 300))
    return carried(draw(payloads), carrier, behind=draw(st.binary(max_size=20)), **ip)


def packets_of(kind: SourceType) -> st.SearchStrategy[bytes]:
    if kind == SourceType.SPAN:
        return st.one_of(damaged(MIRRORED), TUNNELLED, damaged(TUNNELLED), NOISE)
    if kind == SourceType.VXLAN:
        return st.one_of(damaged(MIRRORED), TUNNELLED, CUT_INSIDE, damaged(TUNNELLED), NOISE)
    whole = carriers(PAYLOADS[kind])
    return st.one_of(whole, damaged(whole, 160), damaged(_richest(kind), 160), NOISE)


def _richest(kind: SourceType) -> st.SearchStrategy[bytes]:
    return st.sampled_from([packet for _, packet in richest(kind)])


def richest(kind: SourceType) -> Iterator[tuple[str, bytes]]:
    for name, wrapped in RICHEST.items():
        if wrapped.kind == kind:
            for carrier in CARRIERS:
                yield f"{name}, over {carrier}", carried(wrapped.payload, carrier)


# The corpus: packets that are wrong in one way each


def corpus(kind: SourceType) -> Iterator[bytes]:
    """Of the richest packets of a kind: cut short at every byte, so that the lengths lie, and so that they
    are right but for bytes behind; and with each byte of the headers changed."""
    for wrapped in RICHEST.values():
        if wrapped.kind == kind:
            yield from _cut(wrapped.payload)
            for carrier in ("IPv4", "IPv6"):
                yield from _changed(carried(wrapped.payload, carrier), headers=-len(wrapped.frame))


def _cut(payload: Payload) -> Iterator[bytes]:
    protocol, content = payload
    for carrier in CARRIERS:
        packet = carried(payload, carrier)
        yield from (packet[:size] for size in _sizes(14, len(packet)))
    for size in _sizes(0, len(content)):
        yield carried(_shortened(protocol, content[:size]))
        yield carried(_shortened(protocol, content[:size]), "IPv6", behind=content[size:])


def _sizes(first: int, last: int) -> Iterator[int]:
    """Each within the headers; of the last 60 bytes, which are text, a few."""
    yield from range(first, max(first, last - 60))
    yield from range(max(first, last - 60), last, 7)


def _changed(packet: bytes, headers: int) -> Iterator[bytes]:
    """All bits of a byte, and one bit: the first or the last, in turn."""
    for at in range(12, len(packet[:headers]) + 14):
        for bits in (0xFF, 0x80 if at % 2 else 0x01):
            yield packet[:at] + bytes([packet[at] ^ bits]) + packet[at + 1 :]


def _shortened(protocol: int, content: bytes) -> Payload:
    """With a UDP length that is right."""
    if protocol != UDP or len(content) < 6:
        return protocol, content
    return protocol, content[:4] + len(content).to_bytes(2, "big") + content[6:]
