"""Which codec a payload type means: by RFC 3551, or by the SDP (RFC 8866) that SIP messages carry."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import NamedTuple


class Codec(NamedTuple):
    """`rate`: of the RTP clock, in Hz."""

    name: str
    rate: int


Endpoint = tuple[bytes, int]
"""An address of 4 or 16 bytes, and a port."""

FIXED = {
    0: Codec("PCMU", 8000), 3: Codec("GSM", 8000), 4: Codec("G723", 8000), 5: Codec("DVI4", 8000),
    6: Codec("DVI4", 16000), 7: Codec("LPC", 8000), 8: Codec("PCMA", 8000), 9: Codec("G722", 8000),
    10: Codec("L16", 44100), 11: Codec("L16", 44100), 12: Codec("QCELP", 8000), 13: Codec("CN", 8000),
    14: Codec("MPA", 90000), 15: Codec("G728", 8000), 16: Codec("DVI4", 11025), 17: Codec("DVI4", 22050),
    18: Codec("G729", 8000), 25: Codec("CelB", 90000), 26: Codec("JPEG", 90000), 28: Codec("nv", 90000),
    31: Codec("H261", 90000), 32: Codec("MPV", 90000), 33: Codec("MP2T", 90000), 34: Codec("H263", 90000),
}  # fmt: skip

# They bound what a hostile sender can make us remember and do.
MOST_ENDPOINTS = 20_000
MOST_MEDIA = 16
LARGEST_BODY = 16_384

_BODY = re.compile(rb"\n\r?\n(?=v=0\r?\n)")
_MEDIA = re.compile(rb"^m=[a-z]{1,16} ([0-9]{1,5})(?:/[0-9]+)? ", re.MULTILINE)
_CONNECTION = re.compile(rb"^c=IN IP([46]) ([0-9A-Fa-f.:]{2,45})", re.MULTILINE)
_RTPMAP = re.compile(
    rb"^a=rtpmap:([0-9]{1,3}) ([A-Za-z0-9.+_-]{1,32})/([1-9][0-9]{2,5})(?![0-9])", re.MULTILINE
)


class Codecs:
    """What SDP has said of the endpoints that media goes to. The oldest are forgotten."""

    def __init__(self) -> None:
        self._of: dict[Endpoint, dict[int, Codec]] = {}

    def learn(self, message: bytes) -> None:
        """From a SIP message with SDP in it; any other teaches nothing."""
        for endpoint, codecs in _described(message):
            self._of.pop(endpoint, None)
            if len(self._of) >= MOST_ENDPOINTS:
                del self._of[next(iter(self._of))]
            self._of[endpoint] = codecs

    def find(self, payload_type: int, destination: Endpoint, source: Endpoint) -> Codec | None:
        """The receiver says what a type means to it; where it was not heard, the sender's word counts."""
        for endpoint in (destination, source):
            codec = self._of.get(endpoint, {}).get(payload_type)
            if codec:
                return codec
        return FIXED.get(payload_type)


def _described(message: bytes) -> Iterator[tuple[Endpoint, dict[int, Codec]]]:
    body = _BODY.search(message)
    sdp = message[body.end() : body.end() + LARGEST_BODY] if body else b""
    starts = [each.start() for each in islice(_MEDIA.finditer(sdp), MOST_MEDIA + 1)]
    for start, end in pairwise([*starts, len(sdp)][: MOST_MEDIA + 1]):
        section = sdp[start:end]
        address = _address(section) or _address(sdp[: starts[0]])
        media = _MEDIA.match(section)
        if address and media:
            yield (address, int(media[1])), dict(_rtpmaps(section))


def _address(section: bytes) -> bytes | None:
    found = _CONNECTION.search(section)
    if found is None:
        return None
    family = socket.AF_INET if found[1] == b"4" else socket.AF_INET6
    try:
        return socket.inet_pton(family, found[2].decode())
    except OSError:
        return None


def _rtpmaps(section: bytes) -> Iterator[tuple[int, Codec]]:
    for found in _RTPMAP.finditer(section):
        if int(found[1]) < 128:
            yield int(found[1]), Codec(found[2].decode(), int(found[3]))
