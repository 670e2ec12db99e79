"""The UDP checksum of an outer packet over IPv6: RFC 768 and RFC 8200 section 8.1."""

from __future__ import annotations

from tests.lib.outer import udp_start


def checksum_field(packet: bytes) -> int:
    at = udp_start(packet) + 6
    return int.from_bytes(packet[at : at + 2], "big")


def sum_of_udp(packet: bytes) -> int:
    """Over the pseudo header and the datagram, its checksum included: 0xffff when that is right."""
    datagram = packet[udp_start(packet) :]
    addresses, rest = packet[22:54], len(datagram).to_bytes(4, "big") + bytes([0, 0, 0, 17])
    whole = addresses + rest + datagram + bytes(len(datagram) % 2)
    total = sum(int.from_bytes(whole[at : at + 2], "big") for at in range(0, len(whole), 2))
    return (total - 1) % 0xFFFF + 1
