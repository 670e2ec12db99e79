"""RTP streams (RFC 3550): what was lost, late or doubled on the way, the jitter, and who gets no answer."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from collector.operate.codecs import Codec, Codecs, Endpoint
from collector.operate.inner import Buffer, Payload, addresses
from collector.operate.jitter import Jitter
from collector.operate.sequence import Sequence

NANOSECONDS = 1_000_000_000

# They bound what a hostile sender can make us remember.
MOST_STREAMS = 20_000
MOST_TYPES = 4

# Of a type that nobody explains, the clock is one of these: the one that fits the times of arrival best.
LIKELY_RATES = (8000, 16000, 48000, 90000)

# A stream of fewer packets is too short to say that nothing came back.
ENOUGH = 10

_header = struct.Struct("!BBHII").unpack_from


Key = tuple[int, bytes, int, int, int]
"""What makes two packets belong to one stream: VNI, both addresses, source and destination port, SSRC."""


class Path(NamedTuple):
    """Which way a stream goes."""

    vni: int
    source: Endpoint
    destination: Endpoint


def _path(key: Key) -> Path:
    vni, both, source_port, destination_port, _ = key
    half = len(both) // 2
    return Path(vni, (both[:half], source_port), (both[half:], destination_port))


class Track:
    """The packets of one payload type in a stream; they share a clock, so jitter is measured among them."""

    __slots__ = ("_arrived_ns", "_timestamp", "codec", "jitters", "packets")

    def __init__(self, codec: Codec | None) -> None:
        self.codec = codec
        self.packets = 0
        self.jitters = tuple(Jitter(rate) for rate in ((codec.rate,) if codec else LIKELY_RATES))
        self._arrived_ns = self._timestamp = 0

    def add(self, timestamp: int, arrived_ns: int, *, anew: bool) -> None:
        """`anew`: the sender has begun again, so nothing follows from the packet before."""
        if self.packets and not anew:
            arrival, step = arrived_ns - self._arrived_ns, _signed(timestamp - self._timestamp)
            for jitter in self.jitters:
                jitter.add(arrival, step)
        self._arrived_ns, self._timestamp = arrived_ns, timestamp
        self.packets += 1

    @property
    def jitter(self) -> Jitter:
        """At the right clock it is the smallest."""
        return min(self.jitters, key=lambda each: each.mean)


def _signed(difference: int) -> int:
    """Of two timestamps, which have 32 bits and wrap around."""
    return (difference + (1 << 31) & 0xFFFFFFFF) - (1 << 31)


@dataclass(slots=True)
class Stream:
    """`packets` = those that are in `sequence` + its duplicates + its strays."""

    path: Path
    ssrc: int
    first_ns: int
    sequence: Sequence = field(default_factory=Sequence)
    last_ns: int = 0
    packets: int = 0
    tracks: dict[int, Track] = field(default_factory=dict)

    @property
    def main(self) -> tuple[int, Track]:
        """The payload type that most packets have: speech, and not the keys that were pressed meanwhile."""
        return max(self.tracks.items(), key=lambda item: item[1].packets)


@dataclass
class RtpSummary:
    """`untracked_packets` belong to streams that came when there were MOST_STREAMS already."""

    packets: int = 0
    untracked_packets: int = 0
    codecs: Codecs = field(default_factory=Codecs)
    _streams: dict[Key, Stream] = field(default_factory=dict)

    @property
    def streams(self) -> Collection[Stream]:
        return self._streams.values()

    def add(self, vni: int, frame: Buffer, payload: Payload, arrived_ns: int) -> None:
        """`payload` looks like RTP."""
        self.packets += 1
        _, second, number, timestamp, ssrc = _header(frame, payload.start)
        key = (vni, addresses(frame, payload), payload.source_port, payload.destination_port, ssrc)
        stream = self._streams.get(key) or self._begin(key, arrived_ns)
        if stream is None:
            self.untracked_packets += 1
        else:
            self._add_to(stream, (second & 0x7F, number, timestamp), arrived_ns)

    def _begin(self, key: Key, arrived_ns: int) -> Stream | None:
        if len(self._streams) >= MOST_STREAMS:
            return None
        stream = self._streams[key] = Stream(_path(key), key[-1], arrived_ns)
        return stream

    def _add_to(self, stream: Stream, header: tuple[int, int, int], arrived_ns: int) -> None:
        payload_type, number, timestamp = header
        stream.packets += 1
        stream.last_ns = arrived_ns
        restarts = stream.sequence.restarts
        if not stream.sequence.add(number):
            return
        track = stream.tracks.get(payload_type) or self._track(stream, payload_type)
        if track:
            track.add(timestamp, arrived_ns, anew=stream.sequence.restarts != restarts)

    def _track(self, stream: Stream, payload_type: int) -> Track | None:
        if len(stream.tracks) >= MOST_TYPES:
            return None
        codec = self.codecs.find(payload_type, stream.path.destination, stream.path.source)
        track = stream.tracks[payload_type] = Track(codec)
        return track

    def one_way(self) -> set[Path]:
        """Those where nothing came back: none from where they go, none to where they come from.

        A phone may send from another port than it receives at, so one port that fits is enough.
        """
        paths = {stream.path for stream in self.streams}
        senders = {(vni, source, destination[0]) for vni, source, destination in paths}
        receivers = {(vni, source[0], destination) for vni, source, destination in paths}
        return {
            path
            for path in {stream.path for stream in self.streams if stream.packets >= ENOUGH}
            if (path.vni, path.destination, path.source[0]) not in senders
            and (path.vni, path.destination[0], path.source) not in receivers
        }


def to_json(summary: RtpSummary) -> dict[str, Any]:
    """Times are seconds since 1970. `clock` says how the clock's rate is known: `type`, or `fitted`."""
    one_way = summary.one_way()
    return {
        "untracked_packets": summary.untracked_packets,
        "streams": [
            {**_path_json(stream), "one_way": stream.path in one_way, **_stream_json(stream)}
            for stream in summary.streams
        ],
    }


def _path_json(stream: Stream) -> dict[str, Any]:
    return {
        "vni": stream.path.vni,
        "source": endpoint_text(stream.path.source),
        "destination": endpoint_text(stream.path.destination),
        "ssrc": f"{stream.ssrc:08x}",
    }


def _stream_json(stream: Stream) -> dict[str, Any]:
    sequence, (payload_type, track) = stream.sequence, stream.main
    jitter = track.jitter
    return {
        "payload_types": sorted(stream.tracks),
        "codec": codec_name(payload_type, track),
        "clock_rate": jitter.rate,
        "clock": "type" if track.codec else "fitted",
        "packets": stream.packets,
        "lost": sequence.lost,
        "out_of_order": sequence.out_of_order,
        "duplicates": sequence.duplicates,
        "strays": sequence.strays,
        "restarts": sequence.restarts,
        "jitter_mean_ms": round(jitter.mean * 1000, 3),
        "jitter_max_ms": round(jitter.most * 1000, 3),
        "first": stream.first_ns / NANOSECONDS,
        "last": stream.last_ns / NANOSECONDS,
    }


def codec_name(payload_type: int, track: Track) -> str:
    return track.codec.name if track.codec else f"type {payload_type}"


def endpoint_text(endpoint: Endpoint) -> str:
    address = ipaddress.ip_address(endpoint[0])
    return f"[{address}]:{endpoint[1]}" if address.version == 6 else f"{address}:{endpoint[1]}"
