"""tshark's opinion of the packets that left for the t-meter, whatever came in: their outer headers are
exactly what docs/datapath.md says, and behind them stands the frame that the reference tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from collector.datapath.settings import Address
from tests.lib.outer import udp_start
from tests.lib.tshark import fields


@dataclass(frozen=True)
class Left:
    """`packet` left; it has to carry `frame` under `vni`. `origin`: what came in."""

    packet: bytes
    vni: int
    frame: bytes
    origin: bytes


@dataclass(frozen=True)
class Ends:
    """Between whom the outer packets go."""

    macs: tuple[str, str]  # source, destination
    source: Address
    address: Address
    udp_checksum: bool = False
    port: int = 4789


GOOD, NOT_PRESENT, ZERO_OVER_IPV6 = 1, 3, 4  # of a checksum, as tshark says it
NETWORK = {
    4: {
        "ip.version": 4, "ip.hdr_len": 20, "ip.dsfield": 0, "ip.flags": 0, "ip.frag_offset": 0, "ip.ttl": 64,
        "ip.proto": 17, "ip.checksum.status": GOOD,
    },
    6: {"ipv6.version": 6, "ipv6.tclass": 0, "ipv6.flow": 0, "ipv6.nxt": 17, "ipv6.hlim": 64},
}  # fmt: skip
LAYERS = {4: "eth:ethertype:ip:udp:vxlan", 6: "eth:ethertype:ipv6:udp:vxlan"}
LENGTH = {4: ("ip.len", 14), 6: ("ipv6.plen", 54)}  # and the bytes in front of what it counts
ADDRESSES = {4: ("ip.src", "ip.dst"), 6: ("ipv6.src", "ipv6.dst")}
VXLAN = {"vxlan.flags": 0x0800, "vxlan.gbp": 0, "vxlan.reserved8": 0}
PORTS = range(49152, 65536)


def assert_well_formed(left: Sequence[Left], ends: Ends) -> None:
    """One run of tshark for all of them: it takes longer to start than to decode a thousand."""
    if not left:
        return
    names = list(expected(left[0], ends))
    rows = fields((each.packet for each in left), ["frame.protocols", "udp.srcport", *names])
    assert len(rows) == len(left)
    for each, row in zip(left, rows, strict=True):
        layers, port, *values = row
        about = f"left: {each.packet.hex()}\nmade of: {each.origin.hex()}"
        seen = dict(zip(names, map(_number, values), strict=True))
        assert seen == expected(each, ends), about
        assert layers.startswith(LAYERS[ends.address.version]), f"{layers}\n{about}"  # malformed: none behind
        assert int(port) in PORTS, about
        assert inner(each.packet) == each.frame, about


def _number(value: str) -> int | str:
    """In whatever base, and with however many digits, this release of tshark prints it."""
    try:
        return int(value, 0)
    except ValueError:
        return value


def expected(left: Left, ends: Ends) -> dict[str, int | str]:
    """Of each field its first value, which is the outermost's."""
    version, size = ends.address.version, len(left.packet)
    length, in_front = LENGTH[version]
    checksum = NOT_PRESENT if version == 4 else GOOD if ends.udp_checksum else ZERO_OVER_IPV6
    udp = udp_start(left.packet)
    return {
        **dict(zip(("eth.src", "eth.dst"), ends.macs, strict=True)),
        **dict(zip(ADDRESSES[version], (str(ends.source), str(ends.address)), strict=True)),
        **NETWORK[version],
        length: size - in_front,
        "udp.dstport": ends.port,
        "udp.length": size - udp,
        "udp.checksum.status": checksum,
        **VXLAN,
        "vxlan.vni": left.vni,
    }


def inner(packet: bytes) -> bytes:
    return packet[udp_start(packet) + 16 :]


def vni_of(packet: bytes) -> int:
    return int.from_bytes(packet[udp_start(packet) + 12 :][:3], "big")
