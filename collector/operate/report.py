"""What a sink has received, counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collector.operate import rtp, sip
from collector.operate.inner import find_payload, looks_like_rtp

VXLAN_HEADER = 8
VNI_FLAG = 0x08
NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class VniCount:
    """Bytes are those of the inner frames; times are nanoseconds since 1970, of the first and last frame."""

    frames: int = 0
    bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0

    def add(self, size: int, arrived_ns: int) -> None:
        if not self.frames:
            self.first_ns = arrived_ns
        self.last_ns = arrived_ns
        self.frames += 1
        self.bytes += size

    @property
    def seconds(self) -> float:
        return (self.last_ns - self.first_ns) / NANOSECONDS

    def per_second(self, amount: int) -> float | None:
        """None where one moment is all there is."""
        return amount / self.seconds if self.seconds > 0 else None


@dataclass
class Report:
    """Datagrams received = frames + malformed. `odd` ones are VXLAN, so they are among the frames.

    `malformed` is by reason: `too_short` (no frame inside) or `flags` (the VNI flag is not set).
    `odd` ones have another flag or a reserved bit set, which RFC 7348 lets a receiver ignore.
    `socket_drops` reached this host but not us: the socket's buffer was full, or a checksum was wrong.
    """

    listen: str = ""
    pcap: Path | None = None
    seconds: float = 0.0
    frames: int = 0
    vnis: dict[int, VniCount] = field(default_factory=dict)
    sip: sip.SipSummary = field(default_factory=sip.SipSummary)
    rtp: rtp.RtpSummary = field(default_factory=rtp.RtpSummary)
    malformed: dict[str, int] = field(default_factory=lambda: {"too_short": 0, "flags": 0})
    odd: int = 0
    socket_drops: int = 0

    def add(self, datagram: memoryview, arrived_ns: int) -> memoryview | None:
        """Counts one datagram; the result is its inner frame, a view into it, or None if it is not VXLAN."""
        if len(datagram) <= VXLAN_HEADER:
            self.malformed["too_short"] += 1
            return None
        flags, reserved, word = datagram[0], datagram[1] | datagram[2] | datagram[3], datagram[4:8]
        if not flags & VNI_FLAG:
            self.malformed["flags"] += 1
            return None
        if flags != VNI_FLAG or reserved or word[3]:
            self.odd += 1
        frame = datagram[VXLAN_HEADER:]
        vni = word[0] << 16 | word[1] << 8 | word[2]
        self._count(vni, len(frame), arrived_ns)
        self._look_inside(vni, frame, arrived_ns)
        return frame

    def _count(self, vni: int, size: int, arrived_ns: int) -> None:
        count = self.vnis.get(vni)
        if count is None:
            count = self.vnis[vni] = VniCount()
        count.add(size, arrived_ns)
        self.frames += 1

    def _look_inside(self, vni: int, frame: memoryview, arrived_ns: int) -> None:
        payload = find_payload(frame)
        if payload is None:
            return
        if frame[payload.start] & 0x80:
            if looks_like_rtp(frame, payload):
                self.rtp.add(vni, frame, payload, arrived_ns)
            return
        text = bytes(frame[payload.start : payload.end])
        message = sip.parse(text)
        if message:
            self.sip.add(message)
            self.rtp.codecs.learn(text)


def to_json(report: Report) -> dict[str, Any]:
    """`first` and `last` are seconds since 1970; rates are means between them, null for a single moment."""
    return {
        "listen": report.listen,
        "seconds": round(report.seconds, 3),
        "frames": report.frames,
        "vnis": {str(vni): _vni_json(count) for vni, count in sorted(report.vnis.items())},
        "sip": _sip_json(report.sip),
        "rtp_frames": report.rtp.packets,
        "rtp": rtp.to_json(report.rtp),
        "malformed": dict(report.malformed),
        "odd": report.odd,
        "socket_drops": report.socket_drops,
        "pcap": str(report.pcap) if report.pcap else None,
    }


def _vni_json(count: VniCount) -> dict[str, Any]:
    return {
        "frames": count.frames,
        "bytes": count.bytes,
        "frames_per_second": count.per_second(count.frames),
        "bits_per_second": count.per_second(count.bytes * 8),
        "first": count.first_ns / NANOSECONDS,
        "last": count.last_ns / NANOSECONDS,
    }


def _sip_json(summary: sip.SipSummary) -> dict[str, Any]:
    return {
        "calls": len(summary.calls),
        "answered": summary.answered,
        "failed": summary.failed,
        "ended": summary.ended,
        "methods": dict(sorted(summary.methods.items())),
        "responses": {str(status): count for status, count in sorted(summary.responses.items())},
        "untracked_messages": summary.untracked_messages,
    }
