"""A short telephone call, as a mirror sees it: SIP with SDP, RTP both ways, and SIP again."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

PHONE_MAC, PBX_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
PHONE, PBX = "198.51.100.10", "198.51.100.20"
PHONE_RTP, PBX_RTP = 9000, 9002
SAMPLES = 160  # 20 ms of G.711
_SERVER_TRANSACTION = "z9hG4bK-1"


def call(exchanges: int = 3) -> list[bytes]:
    """`exchanges`: RTP packets in each direction."""
    return [bytes(frame) for frame in (*_beginning(), *_voices(exchanges), *_end())]


def in_ipv6(frame: bytes) -> bytes:
    """The same frame, with IPv6 in the place of IPv4."""
    link = Ether(frame)
    udp = link[UDP].copy()
    del udp.chksum
    return bytes(Ether(src=link.src, dst=link.dst) / IPv6(src="2001:db8::10", dst="2001:db8::20") / udp)


def _to_pbx() -> Packet:
    return Ether(src=PHONE_MAC, dst=PBX_MAC) / IP(src=PHONE, dst=PBX)


def _to_phone() -> Packet:
    return Ether(src=PBX_MAC, dst=PHONE_MAC) / IP(src=PBX, dst=PHONE)


def _sip(link: Packet, start: str, method: str, number: int, body: str = "") -> Packet:
    lines = [
        start,
        f"Via: SIP/2.0/UDP {PHONE}:5060;branch={_SERVER_TRANSACTION}{method}",
        f"From: <sip:100@{PBX}>;tag=1",
        f"To: <sip:200@{PBX}>" + (";tag=2" if start != f"INVITE sip:200@{PBX} SIP/2.0" else ""),
        f"Call-ID: 4711@{PHONE}",
        f"CSeq: {number} {method}",
        f"Contact: <sip:100@{PHONE}:5060>",
        *(["Content-Type: application/sdp"] if body else []),
        f"Content-Length: {len(body)}",
        "",
        body,
    ]
    return link / UDP(sport=5060, dport=5060) / Raw("\r\n".join(lines).encode())


def _sdp(address: str, port: int) -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    )


def _beginning() -> Iterator[Packet]:
    yield _sip(_to_pbx(), f"INVITE sip:200@{PBX} SIP/2.0", "INVITE", 1, _sdp(PHONE, PHONE_RTP))
    yield _sip(_to_phone(), "SIP/2.0 180 Ringing", "INVITE", 1)
    yield _sip(_to_phone(), "SIP/2.0 200 OK", "INVITE", 1, _sdp(PBX, PBX_RTP))
    yield _sip(_to_pbx(), f"ACK sip:200@{PBX} SIP/2.0", "ACK", 1)


def _voices(exchanges: int) -> Iterator[Packet]:
    for number in range(exchanges):
        yield _to_pbx() / UDP(sport=PHONE_RTP, dport=PBX_RTP) / Raw(_rtp(number, 0x1111))
        yield _to_phone() / UDP(sport=PBX_RTP, dport=PHONE_RTP) / Raw(_rtp(number, 0x2222))


def _rtp(number: int, ssrc: int) -> bytes:
    header = struct.pack("!BBHII", 0x80, 8, number, number * SAMPLES, ssrc)
    return header + bytes((number * 3 + i) % 256 for i in range(SAMPLES))


def _end() -> Iterator[Packet]:
    yield _sip(_to_pbx(), f"BYE sip:200@{PBX} SIP/2.0", "BYE", 2)
    yield _sip(_to_phone(), "SIP/2.0 200 OK", "BYE", 2)
