"""Are the figures of an RTP stream exactly those of the packets, and the same as Wireshark's?"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from collector.operate import codecs, rtp
from collector.operate.codecs import Codec, Codecs
from collector.operate.pcap import PcapWriter
from collector.operate.report import Report, to_json
from collector.operate.streams import rtp_by_stream, rtp_facts
from tests.lib.call import call

WHEN = 1_700_000_000_000_000_000
MILLISECOND = 1_000_000
A, B = "198.51.100.10", "198.51.100.20"
A6, B6 = "2001:db8::10", "2001:db8::20"
PCMA, OPUS = 8, 96
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
needs_tshark = pytest.mark.skipif(
    shutil.which("tshark") is None and os.environ.get("CI") != "true", reason="needs tshark"
)
Times = Sequence[tuple[int, int]]
"""Sequence numbers and their times of arrival, in milliseconds."""


def packet(number: int, timestamp: int, payload_type: int = PCMA, ssrc: int = 1) -> bytes:
    return struct.pack("!BBHII", 0x80, payload_type, number % 65536, timestamp % 2**32, ssrc) + bytes(160)


def frame(payload: bytes, ports: tuple[int, int] = (9000, 9002), ends: tuple[str, str] = (A, B)) -> bytes:
    return headers(ports, ends, len(payload)) + payload


@lru_cache
def headers(ports: tuple[int, int], ends: tuple[str, str], size: int) -> bytes:
    layer: type[Packet] = IPv6 if ":" in ends[0] else IP
    udp = UDP(sport=ports[0], dport=ports[1], chksum=0)
    return bytes(ETHER / layer(src=ends[0], dst=ends[1]) / udp / Raw(bytes(size)))[:-size]


def received(frames: Iterable[tuple[float, bytes]], vni: int = 12) -> Report:
    """`frames`: with their times, in milliseconds."""
    report = Report()
    for when, inner in frames:
        header = b"\x08\0\0\0" + (vni << 8).to_bytes(4, "big")
        report.add(memoryview(header + inner), WHEN + round(when * MILLISECOND))
    return report


def speech(numbers: Iterable[int], **how: Any) -> list[tuple[float, bytes]]:
    """One packet every 20 ms, and its timestamp is that of its number."""
    return [(20 * place, frame(packet(n, n * 160), **how)) for place, n in enumerate(numbers)]


def streams(report: Report) -> list[dict[str, Any]]:
    return list(to_json(report)["rtp"]["streams"])


def only(report: Report) -> dict[str, Any]:
    (found,) = streams(report)
    return found


def counts(numbers: Iterable[int]) -> dict[str, int]:
    """Those that are not zero."""
    found = only(received(speech(numbers)))
    names = ("packets", "lost", "out_of_order", "duplicates", "strays", "restarts")
    return {name: found[name] for name in names if found[name]}


def jitter(arrivals: Times, payload_type: int = 0, step: int = 160) -> tuple[float, float]:
    """The mean and the largest, in milliseconds."""
    found = only(received((ms, frame(packet(n, n * step, payload_type))) for n, ms in arrivals))
    return found["jitter_mean_ms"], found["jitter_max_ms"]


def shown(report: Report) -> list[str]:
    console = Console(width=80)
    with console.capture() as capture:
        for name, value in rtp_facts(report.rtp):
            console.print(f"{name}: {value}", highlight=False)
        console.print(Group(*rtp_by_stream(report.rtp)))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert max(map(len, lines), default=0) <= 80
    return lines


def test_the_document_of_a_stream_is_whole() -> None:
    assert only(received([(0, frame(packet(7, 0, ssrc=0xAB))), (25, frame(packet(9, 320, ssrc=0xAB)))])) == {
        "vni": 12,
        "source": f"{A}:9000",
        "destination": f"{B}:9002",
        "ssrc": "000000ab",
        "one_way": False,
        "payload_types": [8],
        "codec": "PCMA",
        "clock_rate": 8000,
        "clock": "type",
        "packets": 2,
        "lost": 1,
        "out_of_order": 0,
        "duplicates": 0,
        "strays": 0,
        "restarts": 0,
        "jitter_mean_ms": 0.938,  # 15 ms / 16
        "jitter_max_ms": 0.938,
        "first": WHEN / 10**9,
        "last": (WHEN + 25 * MILLISECOND) / 10**9,
    }


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([5], {"packets": 1}),
        (range(100), {"packets": 100}),
        ([0, 1, 4, 5, 9], {"packets": 5, "lost": 5}),
        ([0, 1, 3, 2, 4], {"packets": 5, "out_of_order": 1}),
        ([0, 1, 5, 2, 3], {"packets": 5, "lost": 1, "out_of_order": 2}),
        ([0, 1, 1, 2, 2, 2], {"packets": 6, "duplicates": 3}),
        ([0, 1, 3, 2, 2, 3], {"packets": 6, "out_of_order": 1, "duplicates": 2}),
        ([1, 0, 2], {"packets": 3, "out_of_order": 1}),
        ([0, 65535, 1], {"packets": 3, "out_of_order": 1}),
        ([65533, 65534, 65535, 0, 1], {"packets": 5}),
        ([65533, 0, 65535, 2], {"packets": 4, "lost": 2, "out_of_order": 1}),
        (range(65000, 65000 + 3 * 65536, 2000), {"packets": 99, "lost": 98 * 1999}),
        ([*range(10), 30000, 10, 11], {"packets": 13, "strays": 1}),
        ([*range(10), 30000, 30001, 30003], {"packets": 13, "lost": 1, "restarts": 1}),
        ([*range(10), 65535, 0], {"packets": 12, "out_of_order": 1, "duplicates": 1}),
        ([500, 501, 502, 65535, 0, 1], {"packets": 6, "restarts": 1}),
        ([0, 0, 1, 1, 40000, 40000, 40001, 40001], {"packets": 8, "duplicates": 4, "restarts": 1}),
        ([0, 2999], {"packets": 2, "lost": 2998}),
        ([0, 3000], {"packets": 2, "strays": 1}),
        ([100, 200, 101], {"packets": 3, "lost": 98, "out_of_order": 1}),
        ([100, 201, 100], {"packets": 3, "lost": 100, "strays": 1}),
    ],
    ids=str,
)
def test_sequence_numbers(numbers: Iterable[int], expected: dict[str, int]) -> None:
    assert counts(numbers) == expected


def test_jitter_is_as_rfc_3550_defines_it() -> None:
    assert jitter([(n, 20 * n) for n in range(50)]) == (0, 0)
    first = 8 / 16
    second = first + (8 - first) / 16
    third = second + (0 - second) / 16
    assert jitter([(0, 0), (1, 28), (2, 40), (3, 60)]) == (
        round((first + second + third) / 3, 3),
        round(second, 3),
    )


def test_jitter_goes_by_the_order_of_arrival() -> None:
    """Number 2 comes 1 ms after 3, its timestamp is 20 ms before: 21 ms, and then 40 ms - 39 ms."""
    first = 20 / 16
    second = first + (21 - first) / 16
    third = second + (1 - second) / 16
    assert jitter([(0, 0), (1, 20), (3, 80), (2, 81), (4, 120)])[1] == round(second, 3)
    assert jitter([(0, 0), (1, 20), (3, 80), (2, 81), (4, 120)])[0] == round((first + second + third) / 4, 3)


def test_jitter_knows_neither_duplicates_nor_a_timestamp_that_wraps_around() -> None:
    assert jitter([(0, 0), (1, 20), (1, 25), (2, 40), (2, 59)]) == (0, 0)
    around = [(20.0 * n, frame(packet(n, 2**32 - 320 + 160 * n))) for n in range(5)]
    assert only(received(around))["jitter_max_ms"] == 0


def test_a_sender_that_begins_again_makes_no_jitter() -> None:
    again = [(20.0 * n, frame(packet(n, 160 * n))) for n in range(5)]
    again += [(100 + 20.0 * n, frame(packet(40000 + n, 10**6 + 160 * n))) for n in range(5)]
    found = only(received(again))
    assert (found["restarts"], found["jitter_max_ms"]) == (1, 0)
    jump = [(20.0 * n, frame(packet(n, 160 * n + (n > 4) * 10**9))) for n in range(10)]
    assert only(received(jump))["jitter_max_ms"] == 0


@pytest.mark.parametrize(("payload_type", "rate"), [(8, 8000), (6, 16000), (10, 44100), (34, 90000)])
def test_the_clock_of_a_fixed_type(payload_type: int, rate: int) -> None:
    assert jitter([(n, 20 * n) for n in range(9)], payload_type, rate // 50) == (0, 0)


@pytest.mark.parametrize("rate", rtp.LIKELY_RATES)
def test_the_clock_of_an_unexplained_type_is_the_one_that_fits(rate: int) -> None:
    noise = random.Random(1)  # noqa: S311
    frames = [(20 * n + 15 * noise.random(), frame(packet(n, n * rate // 50, OPUS))) for n in range(200)]
    found = only(received(frames))
    assert (found["codec"], found["clock_rate"], found["clock"]) == ("type 96", rate, "fitted")
    assert 3 < found["jitter_mean_ms"] < 7


def test_pressed_keys_do_not_disturb_the_jitter_of_the_speech() -> None:
    """Telephone events (RFC 4733) repeat the timestamp of their beginning."""
    pressed = range(4, 9)
    frames = [
        (20.0 * n, frame(packet(n, 160 * min(n, 4), 101) if n in pressed else packet(n, 160 * n)))
        for n in range(30)
    ]
    found = only(received(frames))
    assert (found["payload_types"], found["codec"], found["lost"]) == ([8, 101], "PCMA", 0)
    assert found["jitter_max_ms"] == 0


def invite(*lines: str, address: str = A) -> bytes:
    version = 6 if ":" in address else 4
    body = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", f"c=IN IP{version} {address}", "t=0 0", *lines, ""]
    head = ["INVITE sip:200@192.0.2.2 SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.1", "Call-ID: 1", "CSeq: 1 INVITE"]
    return "\r\n".join([*head, "Content-Type: application/sdp", "", *body]).encode()


@pytest.mark.parametrize(
    ("ends", "whose"), [((A, B), "receiver"), ((A6, B6), "receiver"), ((A, B), "sender")]
)
def test_sdp_tells_the_codec(ends: tuple[str, str], whose: str) -> None:
    """Where the receiver's own description was not seen, the sender's is taken."""
    address, port = (ends[1], 9002) if whose == "receiver" else (ends[0], 9000)
    said = invite(f"m=audio {port} RTP/AVP 96", "a=rtpmap:96 opus/48000/2", address=address)
    frames = [(20.0 * n, frame(packet(n, n * 960, OPUS), ends=ends)) for n in range(3)]
    found = only(received([(0, frame(said, (5060, 5060))), *frames]))
    assert (found["codec"], found["clock_rate"], found["clock"]) == ("opus", 48000, "type")
    assert found["jitter_max_ms"] == 0


def learnt(*messages: bytes, address: str = A, port: int = 9000) -> dict[int, Codec | None]:
    known = Codecs()
    for message in messages:
        known.learn(message)
    endpoint = (bytes(map(int, address.split("."))), port)
    return {kind: known.find(kind, endpoint, endpoint) for kind in (8, 96)}


def test_what_is_read_of_sdp() -> None:
    opus, speex = Codec("opus", 48000), Codec("speex", 16000)
    audio, video = ("m=audio 9000/2 RTP/AVP 96", "a=rtpmap:96 opus/48000/2"), "m=video 9004 RTP/AVP 96"
    whole = invite(*audio, video, f"c=IN IP4 {B}", "a=rtpmap:96 speex/16000")
    assert learnt(whole) == {8: codecs.FIXED[8], 96: opus}
    assert learnt(whole, address=B, port=9004) == {8: codecs.FIXED[8], 96: speex}
    assert learnt(whole, address=B) == learnt(b"") == {8: codecs.FIXED[8], 96: None}
    newer = invite("m=audio 9000 RTP/AVP 96", "a=rtpmap:96 speex/16000", "a=rtpmap:8 odd/12345")
    assert learnt(whole, newer) == {8: Codec("odd", 12345), 96: speex}
    for wrong in ("opus/0", "opus/48000000", "opus", "o pus/48000", "x" * 40 + "/8000"):
        assert learnt(invite("m=audio 9000 RTP/AVP 96", f"a=rtpmap:96 {wrong}"))[96] is None
    assert learnt(invite(*audio, address="198.51.100.300"))[96] is None


def test_what_sdp_makes_us_remember_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "MOST_ENDPOINTS", 2)
    said = [invite(f"m=audio {port} RTP/AVP 96", "a=rtpmap:96 opus/48000") for port in (1, 2, 1, 3)]
    assert [learnt(*said, port=port)[96] is None for port in (1, 2, 3)] == [False, True, False]
    many = invite(*[f"m=audio {port} RTP/AVP 96\r\na=rtpmap:96 opus/48000" for port in range(100, 150)])
    monkeypatch.setattr(codecs, "MOST_ENDPOINTS", 1000)
    assert [learnt(many, port=port)[96] is None for port in (100, 115, 116, 149)] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("back", "one_way"),
    [
        (None, True),
        (((9002, 9000), (B, A)), False),
        (((9100, 9000), (B, A)), False),
        (((9002, 9100), (B, A)), False),
        (((9100, 9102), (B, A)), True),
        (((9002, 9000), (B, "198.51.100.11")), True),
        (((9000, 9002), (A, B)), True),
    ],
    ids=str,
)
def test_one_way(back: tuple[tuple[int, int], tuple[str, str]] | None, one_way: bool) -> None:
    frames = speech(range(rtp.ENOUGH))
    if back:
        frames += [(0, frame(packet(0, 0, ssrc=2), *back))]
    assert streams(received(frames))[0]["one_way"] is one_way


def test_one_way_is_by_vni_and_not_said_of_a_few_packets() -> None:
    report = received(speech(range(rtp.ENOUGH)))
    answer = b"\x08\0\0\0\0\0\x0d\0" + frame(packet(0, 0), (9002, 9000), (B, A))
    report.add(memoryview(answer), WHEN)
    assert [each["one_way"] for each in streams(report)] == [True, False]
    assert only(received(speech(range(rtp.ENOUGH - 1))))["one_way"] is False


def test_what_makes_a_stream() -> None:
    report = received([
        (0, frame(packet(0, 0))),
        (0, frame(packet(0, 0, ssrc=2))),
        (0, frame(packet(0, 0), ports=(9000, 9004))),
        (0, frame(packet(0, 0), ports=(9004, 9002))),
        (0, frame(packet(0, 0), ends=(A, "198.51.100.21"))),
        (0, frame(packet(0, 0), ends=(A6, B6))),
        (0, frame(packet(1, 160))),
    ])  # fmt: skip
    report.add(memoryview(b"\x08\0\0\0\0\0\x0d\0" + frame(packet(0, 0))), WHEN)
    assert [each["packets"] for each in streams(report)] == [2, 1, 1, 1, 1, 1, 1]
    assert streams(report)[5]["source"] == "[2001:db8::10]:9000"


def test_a_flood_of_streams_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtp, "MOST_STREAMS", 2)
    report = received((0, frame(packet(0, 0, ssrc=ssrc))) for ssrc in (1, 2, 3, 1, 4))
    assert [each["packets"] for each in streams(report)] == [2, 1]
    assert (report.rtp.packets, to_json(report)["rtp"]["untracked_packets"]) == (5, 2)
    assert "  not counted: streams of 2 packets: too many to remember" in shown(report)


def test_a_flood_of_payload_types_is_bounded() -> None:
    found = only(received((0, frame(packet(kind, 0, kind))) for kind in range(96, 128)))
    assert (found["packets"], found["lost"]) == (32, 0)
    assert found["payload_types"] == list(range(96, 96 + rtp.MOST_TYPES))


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.integers(0, 10**15))))
def test_every_packet_is_counted_once(packets: list[tuple[int, int, int]]) -> None:
    report = received((ns / MILLISECOND, frame(packet(n, when, 96 + n % 3))) for n, when, ns in packets)
    for stream in report.rtp.streams:
        sequence = stream.sequence
        assert stream.packets == len(packets) == sequence.received + sequence.duplicates + sequence.strays
        assert 0 <= sequence.lost <= sequence.expected
    json.dumps(to_json(report), allow_nan=False)
    shown(report)


@given(st.lists(st.integers(0, 40), min_size=1))
def test_within_the_window_the_figures_are_those_of_a_set(numbers: list[int]) -> None:
    found = only(received(speech(65520 + number for number in numbers)))
    different = set(numbers)
    highest = [max(numbers[: place + 1]) for place in range(len(numbers))]
    first = [number not in numbers[:place] for place, number in enumerate(numbers)]
    assert found["duplicates"] == len(numbers) - len(different)
    assert found["lost"] == max(numbers) - min(numbers) + 1 - len(different)
    assert found["out_of_order"] == sum(
        new and number < top for new, number, top in zip(first, numbers, highest, strict=True)
    )


@given(st.lists(st.binary(max_size=120), max_size=20), st.sampled_from([(A, B), (A6, B6)]))
def test_hostile_packets(payloads: list[bytes], ends: tuple[str, str]) -> None:
    report = received((n, frame(b"\x80" + payload, ends=ends)) for n, payload in enumerate(payloads))
    tracked = sum(stream.packets for stream in report.rtp.streams)
    assert tracked == report.rtp.packets == sum(1 for each in payloads if is_rtp(each))
    json.dumps(to_json(report), allow_nan=False)
    shown(report)


def is_rtp(payload: bytes) -> bool:
    return len(payload) >= 11 and (payload[0] & 0x7F < 35 or payload[0] & 0x7F >= 96)


SDP_WORDS = st.sampled_from(
    ["v=0", "m=audio 9000 RTP/AVP 96", "a=rtpmap:96 opus/48000", "c=IN IP4 192.0.2.1", "c=IN IP6 ::", "m=",
     "a=rtpmap:999 x/8000", "c=IN IP4 :::", "m=audio 99999 x", "", "\r"]
)  # fmt: skip


@given(st.lists(SDP_WORDS | st.text(max_size=30)), st.binary(max_size=60))
def test_hostile_sdp(lines: list[str], noise: bytes) -> None:
    known = Codecs()
    for message in (invite(*lines), invite(*lines) + noise, "\r\n".join(lines).encode() + noise):
        known.learn(message)
    assert known.find(8, (b"", 0), (b"", 0)) == codecs.FIXED[8]


def test_the_summary_says_it_in_80_columns() -> None:
    there = speech([n for n in range(150) if n not in {30, 31, 90}])
    back = speech([*range(70), 71, 70, *range(72, 150), 149], ports=(9002, 9000), ends=(B, A))
    alone = [(20.0 * n, frame(packet(n, n * 960, OPUS), ends=(A6, B6))) for n in range(50)]
    assert shown(received([*there, *back, *alone])) == [
        "RTP streams: 3, of these 1 one way",
        "  packets: 3 lost, 1 out of order, 1 twice",
        "",
        "RTP by stream      packets      lost             late    twice jitter ms    most",
        "VNI 12  [2001:db8::10]:9000 and [2001:db8::20]:9002",
        "  ->  type 96           50         0                0        0      0.00    0.00",
        "  one way: nothing came back from [2001:db8::20]:9002",
        "VNI 12  198.51.100.10:9000 and 198.51.100.20:9002",
        "  ->  PCMA             147         3   2.0 %        0        0      0.41    2.50",
        "  <-  PCMA             151         0                1        1      0.53    4.69",
        "",
        "type N: no SDP was seen that tells the codec. Its jitter is by the clock that",
        "fits best, of 8, 16, 48 and 90 kHz.",
    ]


def test_a_mirror_that_copies_one_direction_is_named() -> None:
    frames = [each for port in (9000, 9010) for each in speech(range(20), ports=(port, 9002))]
    assert shown(received(frames))[-3:] == [
        "",
        "Every stream is one way. It looks so when a mirror copies only what a port",
        "receives, or only what it sends: let it copy both.",
    ]


def test_a_mirror_that_copies_twice_is_named() -> None:
    frames = [each for one in speech(range(20)) for each in (one, one)]
    assert shown(received(frames))[-4:] == [
        "",
        "Most packets came twice. It looks so when a mirror copies a frame where it",
        "enters the switch and again where it leaves: mirror fewer ports, or only what",
        "they receive.",
    ]


def test_the_worst_conversations_are_shown() -> None:
    frames = []
    for number in range(25):
        ports = (9000 + 2 * number, 9002)
        frames += speech(range(0, 12 + 12 * (number == 24), 1 + (number == 24)), ports=ports)
        frames += speech(range(12), ports=ports[::-1], ends=(B, A))
    lines = shown(received(frames))
    assert lines[4] == f"VNI 12  {A}:9048 and {B}:9002"
    assert len([line for line in lines if line.startswith("VNI")]) == 20
    assert lines[-1] == "and 5 more conversations; --json has them all"


# Wireshark's opinion


def disturbed(seed: int, lost: float, jitter_ms: float, step: int) -> list[tuple[float, bytes]]:
    """The first and the last packets come in time: where they are late, Wireshark counts others as lost."""
    noise = random.Random(seed)  # noqa: S311
    ports = (9000 + 10 * seed, 9002 + 10 * seed)
    kind = OPUS if step == 960 else PCMA
    found = []
    for n in range(800):
        late, gone = jitter_ms * noise.random(), noise.random() < lost
        inner = frame(packet(65000 + n, 2**32 - 9999 + n * step, kind, seed), ports)
        if not 5 < n < 795:
            found.append((20.0 * n, inner))
        elif not gone:
            found.append((20 * n + late, inner))
    return found


def wireshark(pcap: Path) -> dict[int, tuple[int, int, float, float]]:
    """By SSRC: packets, lost, mean and largest jitter in milliseconds."""
    done = subprocess.run(
        ["tshark", "-r", pcap, "-n", "-q", "--enable-heuristic", "rtp_udp", "-z", "rtp,streams"],
        text=True, capture_output=True, check=True,
    )  # fmt: skip
    found = {}
    for line in done.stdout.splitlines():
        _, ssrc, after = line.partition(" 0x")
        if ssrc:
            number, _, rest = after.partition(" ")
            counted = re.search(r"(\d+)\s+(-?\d+) \([-\d.]+%\)(.*)", rest)
            assert counted
            *_, mean, most = [float(word) for word in counted[3].split() if word != "X"][:6]
            found[int(number, 16)] = (int(counted[1]), int(counted[2]), mean, most)
    return found


def assert_as_wireshark(frames: list[tuple[float, bytes]], pcap: Path) -> dict[int, Any]:
    with PcapWriter(pcap) as writer:
        for when, inner in frames:
            writer.write(inner, WHEN + round(when * MILLISECOND))
    found = {int(each["ssrc"], 16): each for each in streams(received(frames))}
    theirs = wireshark(pcap)
    assert {ssrc: (each["packets"], each["lost"]) for ssrc, each in found.items()} == {
        ssrc: each[:2] for ssrc, each in theirs.items()
    }
    for ssrc, (_, _, mean, most) in theirs.items():
        ours = (found[ssrc]["jitter_mean_ms"], found[ssrc]["jitter_max_ms"])
        assert ours == pytest.approx((mean, most), abs=0.002)
    return found


@needs_tshark
def test_lost_and_jittery_streams_are_as_wireshark_sees_them(tmp_path: Path) -> None:
    opus = invite("m=audio 9042 RTP/AVP 96", "a=rtpmap:96 opus/48000/2", address=B)
    kinds = [(1, 0.0, 0.0, 160), (2, 0.05, 8.0, 160), (3, 0.1, 50.0, 160), (4, 0.02, 19.0, 960)]
    frames = sorted(each for kind in kinds for each in disturbed(*kind))
    found = assert_as_wireshark([(0, frame(opus, (5060, 5060))), *frames], tmp_path / "frames.pcap")
    assert found[4]["codec"] == "opus"
    assert [bool(found[ssrc]["lost"]) for ssrc in (1, 2, 3, 4)] == [False, True, True, True]
    assert found[3]["out_of_order"] > 10


@needs_tshark
def test_a_call_is_as_wireshark_sees_it(tmp_path: Path) -> None:
    noise = random.Random(7)  # noqa: S311
    frames = [(10 * n + 3 * noise.random(), each) for n, each in enumerate(call(60))]
    found = assert_as_wireshark(frames, tmp_path / "call.pcap")
    assert [(each["codec"], each["packets"], each["one_way"]) for each in found.values()] == [
        ("PCMA", 60, False),
        ("PCMA", 60, False),
    ]
