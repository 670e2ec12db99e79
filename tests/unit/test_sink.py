"""Does the stand-in t-meter count exactly what arrives, whatever arrives?"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw

from collector.errors import CollectorError, HostError, InputError
from collector.operate import sip
from collector.operate.figures import Rates, scaled
from collector.operate.listen import open_socket, socket_drops
from collector.operate.report import Report
from collector.operate.sink import Receiver, render, sink, to_json

WHEN = 1_700_000_000_123_456_789
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
IP4 = IP(src="192.0.2.1", dst="192.0.2.2")
IP6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
SIP_PORTS = UDP(sport=5060, dport=5060)
RTP_PORTS = UDP(sport=9000, dport=9002)
RTP = bytes([0x80, 8, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4]) + bytes([0xD5]) * 160
PROGRAM = [sys.executable, "-c", "from collector.operate.sink import sink; sink()"]


def message(start: str, cseq: str, call_id: str = "a@192.0.2.1") -> bytes:
    return (
        f"{start}\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n\r\nv=0\r\n".encode()
    )


def request(method: str, number: int = 1, call_id: str = "a@192.0.2.1") -> bytes:
    return message(f"{method} sip:200@192.0.2.2 SIP/2.0", f"{number} {method}", call_id)


def response(status: int, method: str, number: int = 1, call_id: str = "a@192.0.2.1") -> bytes:
    return message(f"SIP/2.0 {status} Reason", f"{number} {method}", call_id)


def frame(*layers: Packet | bytes) -> bytes:
    packet = ETHER.copy()
    for layer in layers:
        packet /= Raw(layer) if isinstance(layer, bytes) else layer.copy()
    return bytes(packet)


def vxlan(inner: bytes, vni: int = 12, flags: int = 0x08000000, last: int = 0) -> bytes:
    return flags.to_bytes(4, "big") + (vni << 8 | last).to_bytes(4, "big") + inner


def received(*datagrams: bytes) -> Report:
    report = Report(listen="192.0.2.9:4789")
    for number, datagram in enumerate(datagrams):
        report.add(memoryview(datagram), WHEN + number * 500_000_000)
    return report


def calls(*messages: bytes) -> dict[str, int]:
    report = received(*(vxlan(frame(IP4, SIP_PORTS, text)) for text in messages))
    found = to_json(report)["sip"]
    return {key: found[key] for key in ("calls", "answered", "failed", "ended")}


def outcome(calls: int = 1, answered: int = 0, failed: int = 0, ended: int = 0) -> dict[str, int]:
    return {"calls": calls, "answered": answered, "failed": failed, "ended": ended}


def text_of(report: Report) -> str:
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(render(report))
        return console.export_text()


def stream(vni: int, after_ns: int) -> dict[str, Any]:
    """That of one packet with RTP."""
    none = ("lost", "out_of_order", "duplicates", "strays", "restarts", "jitter_mean_ms", "jitter_max_ms")
    return {
        "vni": vni,
        "source": "192.0.2.1:9000",
        "destination": "192.0.2.2:9002",
        "ssrc": "01020304",
        "one_way": False,
        "payload_types": [8],
        "codec": "PCMA",
        "clock_rate": 8000,
        "clock": "type",
        "packets": 1,
        **dict.fromkeys(none, 0),
        "first": (WHEN + after_ns) / 10**9,
        "last": (WHEN + after_ns) / 10**9,
    }


def test_the_document_is_whole() -> None:
    first, second = frame(IP4, RTP_PORTS, RTP), frame(IP6, SIP_PORTS, request("INVITE"))
    assert to_json(received(vxlan(first), vxlan(second), vxlan(first, vni=0xFFFFFF), b"short")) == {
        "listen": "192.0.2.9:4789",
        "seconds": 0.0,
        "frames": 3,
        "vnis": {
            "12": {
                "frames": 2,
                "bytes": len(first) + len(second),
                "frames_per_second": 4.0,
                "bits_per_second": (len(first) + len(second)) * 16.0,
                "first": WHEN / 1e9,
                "last": (WHEN + 500_000_000) / 1e9,
            },
            "16777215": {
                "frames": 1,
                "bytes": len(first),
                "frames_per_second": None,
                "bits_per_second": None,
                "first": (WHEN + 1_000_000_000) / 1e9,
                "last": (WHEN + 1_000_000_000) / 1e9,
            },
        },
        "sip": {
            **outcome(),
            "methods": {"INVITE": 1},
            "responses": {},
            "untracked_messages": 0,
        },
        "rtp_frames": 2,
        "rtp": {
            "untracked_packets": 0,
            "streams": [stream(12, 0), stream(16777215, 1_000_000_000)],
        },
        "malformed": {"too_short": 1, "flags": 0},
        "odd": 0,
        "socket_drops": 0,
        "pcap": None,
    }


@pytest.mark.parametrize(
    ("datagram", "frames", "malformed", "odd"),
    [
        (b"", 0, {"too_short": 1, "flags": 0}, 0),
        (vxlan(b""), 0, {"too_short": 1, "flags": 0}, 0),
        (vxlan(b"x"), 1, {"too_short": 0, "flags": 0}, 0),
        (vxlan(b"x", flags=0), 0, {"too_short": 0, "flags": 1}, 0),
        (vxlan(b"x", flags=0xF7FFFFFF), 0, {"too_short": 0, "flags": 1}, 0),
        (vxlan(b"x", flags=0x88000000), 1, {"too_short": 0, "flags": 0}, 1),
        (vxlan(b"x", flags=0x08000001), 1, {"too_short": 0, "flags": 0}, 1),
        (vxlan(b"x", last=1), 1, {"too_short": 0, "flags": 0}, 1),
    ],
)
def test_what_is_vxlan(datagram: bytes, frames: int, malformed: dict[str, int], odd: int) -> None:
    report = received(datagram)
    assert (report.frames, report.malformed, report.odd) == (frames, malformed, odd)


@pytest.mark.parametrize(
    "layers",
    [
        [IP4, SIP_PORTS],
        [Dot1Q(vlan=7), IP4, SIP_PORTS],
        [Dot1AD(vlan=7), Dot1Q(vlan=8), IP4, SIP_PORTS],
        [IP(options=b"\x01" * 8), UDP(sport=40001, dport=41001)],
        [IP(flags="MF"), SIP_PORTS],
        [IP6, SIP_PORTS],
        [Dot1AD(vlan=7), Dot1Q(vlan=8), IP6, SIP_PORTS],
        [IP6, IPv6ExtHdrDestOpt(), IPv6ExtHdrFragment(m=1), SIP_PORTS],
        [IP4, TCP(sport=40000, dport=5060, flags="PA")],
        [IP6, TCP(options=[("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)])],
    ],
    ids=lambda layers: "/".join(type(layer).__name__ for layer in layers),
)
def test_sip_is_found_wherever_it_is(layers: list[Packet]) -> None:
    report = received(vxlan(frame(*layers, request("OPTIONS")) + b"frame padding"))
    assert (dict(report.sip.methods), report.sip.calls) == ({"OPTIONS": 1}, {})


@pytest.mark.parametrize(
    "layers",
    [
        [ARP()],
        [IP(frag=8), SIP_PORTS],
        [IP6, IPv6ExtHdrFragment(offset=8), SIP_PORTS],
        [IP(proto=1), SIP_PORTS],
        [Dot1Q(), Dot1Q(), Dot1Q(), IP4, SIP_PORTS],
    ],
)
def test_sip_is_not_found_where_it_is_not(layers: list[Packet]) -> None:
    report = received(vxlan(frame(*layers, request("OPTIONS"))))
    assert (report.frames, report.sip.methods) == (1, {})


@pytest.mark.parametrize(
    ("ports", "payload", "expected"),
    [
        (RTP_PORTS, RTP, 1),
        (UDP(sport=9001, dport=9002), RTP, 1),
        (UDP(sport=9001, dport=9003), RTP, 0),
        (UDP(sport=9000, dport=53), RTP, 0),
        (RTP_PORTS, RTP[:11], 0),
        (RTP_PORTS, bytes([0x8F]) + RTP[1:50], 0),
        (RTP_PORTS, bytes([0xC0]) + RTP[1:], 0),
        (RTP_PORTS, bytes([0x80, 200]) + RTP[2:], 0),
        (RTP_PORTS, bytes([0x80, 0x80 | 101]) + RTP[2:], 1),
        (TCP(sport=9000, dport=9002), RTP, 0),
    ],
)
def test_what_looks_like_rtp(ports: Packet, payload: bytes, expected: int) -> None:
    assert received(vxlan(frame(IP4, ports, payload))).rtp.packets == expected


def test_outcomes_of_calls() -> None:
    invite, busy, ok = request("INVITE"), response(486, "INVITE"), response(200, "INVITE")
    assert calls(invite) == outcome()
    assert calls(invite, ok) == outcome(answered=1)
    assert calls(invite, invite, busy, invite) == outcome(failed=1)
    assert calls(ok, request("BYE", 2), response(200, "BYE", 2)) == outcome(answered=1, ended=1)
    challenged = [invite, response(407, "INVITE"), request("ACK")]
    assert calls(*challenged) == outcome(failed=1)
    assert calls(*challenged, request("INVITE", 2)) == outcome()
    assert calls(*challenged, request("INVITE", 2), response(200, "INVITE", 2)) == outcome(answered=1)
    assert calls(invite, ok, response(488, "INVITE", 2)) == outcome(answered=1)
    assert calls(invite, request("INVITE", call_id="b")) == outcome(calls=2)
    assert calls(request("REGISTER"), response(401, "REGISTER")) == outcome(calls=0)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"ACK sip:a SIP/2.0\ni :x\ncseq : 7 ACK\n\n", sip.Message("ACK", 0, b"x", 7)),
        (b"SIP/2.0 200\r\nCSEQ:\r\n 1\t INVITE\r\nI:\r\n\ty\r\n", sip.Message("INVITE", 200, b"y", 1)),
        (b"BYE sip:a SIP/2.0\r\n\r\nCall-ID: body\r\nCSeq: 1 BYE\r\n", sip.Message("BYE", 0, b"", 0)),
        (b"SIP/2.0 180 R\r\nCall-ID:\r\nFrom: x\r\nCSeq: x", sip.Message("", 180, b"", 0)),
        (
            b"SIP/2.0 200 OK\r\nCall-ID: \xff\xfe\r\nCSeq: 1 \xc3\r\n",
            sip.Message("\ufffd", 200, b"\xff\xfe", 1),
        ),
        (b"INVITE sip:a SIP/2.0", None),
        (b"INVITE sip:a SIP/3.0\r\n", None),
        (b"GET / HTTP/1.1\r\nCall-ID: x\r\n", None),
        (b"SIP/2.0 999 OK\r\n", None),
    ],
)
def test_parse(payload: bytes, expected: sip.Message | None) -> None:
    assert sip.parse(payload) == expected


def test_a_flood_of_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip, "MOST_CALLS", 2)
    texts = [request("INVITE", call_id=name * 999) for name in "abcb"] + [request(f"X{n}") for n in range(3)]
    summary = received(*(vxlan(frame(IP4, SIP_PORTS, text)) for text in texts)).sip
    assert summary.methods == {"INVITE": 4, "other": 3}
    assert list(summary.calls) == [b"a" * 256, b"b" * 256]
    assert summary.untracked_messages == 1


@given(st.lists(st.binary(max_size=200)))
def test_any_datagram_is_counted_once(datagrams: list[bytes]) -> None:
    report = received(*datagrams)
    assert report.frames + sum(report.malformed.values()) == len(datagrams)
    json.dumps(to_json(report))
    text_of(report)


ETHERTYPES = st.sampled_from([b"\x08\x00\x45", b"\x86\xdd\x60", b"\x81\x00\x00\x01\x08\x00\x4f", b"\x88\xa8"])


@given(ETHERTYPES, st.binary(max_size=120), st.integers(0, 140))
def test_any_frame_is_counted_once(ethertype: bytes, rest: bytes, cut: int) -> None:
    assert received(vxlan((bytes(12) + ethertype + rest)[: max(cut, 1)])).frames == 1


@given(st.binary(max_size=60), st.text(max_size=60), st.sampled_from(["", "\r\n", " ", "\r\n "]))
def test_any_text_is_taken(noise: bytes, words: str, between: str) -> None:
    start = request("INVITE").split(b"\r\n")[0] + b"\r\n"
    text = between.join(["i:", words, "CSeq:", words, "1 INVITE"]).encode()
    for payload in (start + noise, start + text, text + noise, start + text + noise):
        report = received(vxlan(frame(IP4, SIP_PORTS, payload)))
        assert report.sip.methods["INVITE"] == payload.startswith(start)
        json.dumps(to_json(report))


def test_the_summary_says_it_in_80_columns() -> None:
    report = received(
        vxlan(frame(IP4, SIP_PORTS, request("INVITE"))), vxlan(frame(IP4, RTP_PORTS, RTP), last=1), b""
    )
    report.seconds, report.socket_drops = 12.34, 5
    clock = time.strftime("%H:%M:%S", time.localtime(WHEN // 10**9))
    lines = [line.rstrip() for line in text_of(report).splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines == [
        "Listened on 192.0.2.9:4789 for 12.3 s: 2 frames",
        "",
        "VNI  Frames  Bytes  Frames/s    Mean rate     First      Last",
        f" 12       2  363 B         4  5.81 kbit/s  {clock}  {clock}",
        "",
        "SIP calls           1 by Call-ID",
        "  of these          0 answered, 0 failed, 0 ended by BYE",
        "SIP requests        INVITE 1",
        "SIP responses       none",
        "RTP-like frames     1",
        "RTP streams         1, of these 0 one way",
        "  packets           0 lost, 0 out of order, 0 twice",
        "Not VXLAN           1 datagrams: 1 too short, 0 without the VNI flag",
        "Odd VXLAN           1 with a reserved bit set (counted above)",
        "Lost at the socket  5 datagrams reached this host but came too fast for this",
        "                    program, or had a wrong checksum: the figures above are too",
        "                    low by these",
        "",
        "RTP by stream      packets      lost             late    twice jitter ms    most",
        "VNI 12  192.0.2.1:9000 and 192.0.2.2:9002",
        "  ->  PCMA               1         0                0        0      0.00    0.00",
    ]


def test_a_summary_without_frames_says_what_to_check() -> None:
    assert "no firewall between them drops that UDP port" in text_of(received())
    assert "Datagrams arrived, but none was VXLAN." in text_of(received(b"x"))


def test_rates_are_of_the_time_between() -> None:
    report, rates = received(vxlan(b"x" * 100)), Rates(started=10.0)
    assert rates.measure(report, 12.0) == {12: (0.5, 400.0)}
    report.add(memoryview(vxlan(b"x" * 50, vni=13)), WHEN)
    assert rates.measure(report, 13.0) == {12: (0.0, 0.0), 13: (1.0, 400.0)}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1234, "1.23 kB"),
        (999_600, "1 MB"),
        (2.5e9, "2.5 GB"),
        (7e15, "7,000.0 TB"),
    ],
)
def test_scaled(amount: float, text: str) -> None:
    assert scaled(amount, "B") == text


def test_losses_at_the_socket_are_counted() -> None:
    with open_socket(("127.0.0.1", 0)) as receiving, socket.socket(type=socket.SOCK_DGRAM) as sender:
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        receiver = Receiver(receiving, Report(), None, None)
        for _ in range(50):
            sender.sendto(vxlan(b"x" * 1000), receiving.getsockname())
        assert receiver.receive(100)
        assert 0 < receiver.report.frames < 50
        assert receiver.report.frames + socket_drops(receiving) == 50


def test_every_address_takes_ipv4_and_ipv6_without_a_checksum() -> None:
    udp_no_check6_tx = 101
    with open_socket(("::", 0)) as receiving, socket.socket(type=socket.SOCK_DGRAM) as ipv4:
        port = receiving.getsockname()[1]
        ipv4.sendto(vxlan(b"x"), ("127.0.0.1", port))
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as ipv6:
            ipv6.setsockopt(socket.IPPROTO_UDP, udp_no_check6_tx, 1)
            ipv6.sendto(vxlan(b"y"), ("::1", port))
        receiver = Receiver(receiving, Report(), None, None)
        assert receiver.receive(10)
        assert (receiver.report.frames, socket_drops(receiving)) == (2, 0)


@pytest.mark.parametrize(
    "listen", ["4789", "127.0.0.1", "::1:4789", "127.0.0.1:", "127.0.0.1:65536", ":1", "a:-1"]
)
def test_listen_must_be_host_and_port(listen: str) -> None:
    result = CliRunner().invoke(sink, ["--listen", listen])
    assert result.exit_code == 2
    assert f"Invalid value for '--listen': {listen}" in result.stderr
    assert "for example 0.0.0.0:4789" in result.stderr


def refusal(*arguments: str) -> CollectorError:
    error = CliRunner().invoke(sink, arguments).exception
    assert isinstance(error, CollectorError), error
    return error


def test_a_taken_port_is_named() -> None:
    with open_socket(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refusal("--listen", f"127.0.0.1:{port}")
    assert isinstance(error, HostError)
    assert error.what == f"UDP port {port} on 127.0.0.1 is taken by another program or a vxlan device"
    assert error.hint == (
        f"See which with: ss -ulnp 'sport = :{port}'. Stop it, or choose another port: "
        "--listen 127.0.0.1:14789"
    )


def test_wrong_input_is_named(tmp_path: Path) -> None:
    address, name = refusal("--listen", "192.0.2.1:0"), refusal("--listen", f"{'x' * 64}.example:0")
    file = refusal("--listen", "127.0.0.1:0", "--pcap", str(tmp_path / "none" / "f.pcap"))
    assert all(isinstance(error, InputError) for error in (address, name, file))
    assert address.what == "--listen 192.0.2.1:0: this host has no address 192.0.2.1"
    assert name.what.endswith(f"{'x' * 64}.example is not an address or a known name")
    assert file.what == f"--pcap: cannot open {tmp_path}/none/f.pcap: No such file or directory"


def test_a_full_disk_is_named() -> None:
    error = refusal("--listen", "127.0.0.1:0", "--pcap", "/dev/full")
    assert isinstance(error, HostError)
    assert error.what == "Writing /dev/full failed after 0 frames: No space left on device"


@contextmanager
def running(*arguments: str, stdout: int = subprocess.PIPE) -> Iterator[tuple[subprocess.Popen[str], Any]]:
    """A sink in a process of its own, and a socket that sends to it."""
    listen = ["--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*PROGRAM, *listen, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            ready = process.stderr.readline()
            assert ready.startswith("listening on 127.0.0.1:"), ready + process.stderr.read()
            with socket.socket(type=socket.SOCK_DGRAM) as sender:
                sender.connect(("127.0.0.1", int(ready.rpartition(":")[2])))
                yield process, sender
        finally:
            process.kill()


def tshark(pcap: Path) -> list[str]:
    fields = ["frame.time_epoch", "frame.encap_type", "frame.len", "sip.Call-ID"]
    command = ["tshark", "-r", str(pcap), "-T", "fields", *(word for name in fields for word in ("-e", name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_reports_all_that_came(number: signal.Signals, tmp_path: Path) -> None:
    if shutil.which("tshark") is None and os.environ.get("CI") != "true":
        pytest.skip("needs tshark")
    pcap = tmp_path / "frames.pcap"
    frames = [frame(IP4, SIP_PORTS, request("INVITE")), *[frame(IP4, RTP_PORTS, RTP)] * 500, b"runt"]
    with running("--json", "--pcap", str(pcap)) as (process, sender):
        before = time.time()
        for inner in frames:
            sender.send(vxlan(inner))
        after = time.time()
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    document = json.loads(output)
    assert (process.returncode, errors, document["pcap"]) == (0, "", str(pcap))
    assert 0 < document["seconds"] < 30
    assert document["vnis"]["12"]["frames"] == document["frames"] == len(frames)
    assert document["vnis"]["12"]["bytes"] == sum(map(len, frames))
    assert before <= document["vnis"]["12"]["first"] <= document["vnis"]["12"]["last"] <= after
    assert (document["sip"]["methods"], document["rtp_frames"]) == ({"INVITE": 1}, 500)
    read = [line.split("\t") for line in tshark(pcap)]
    assert [int(line[2]) for line in read] == [len(inner) for inner in frames]
    assert {line[1] for line in read} == {"1"}
    assert [line[3] for line in read if line[3]] == ["a@192.0.2.1"]
    assert before <= float(read[0][0]) <= float(read[-1][0]) <= after


def test_it_stops_after_count_frames() -> None:
    with running("--count", "3", "--json") as (process, sender):
        for datagram in (b"Test of a port", *[vxlan(b"x" * 60)] * 3):
            sender.send(datagram)
        with suppress(ConnectionRefusedError):  # it may have ended
            for _ in range(2):
                sender.send(vxlan(b"x" * 60))
        document = json.loads(process.communicate(timeout=30)[0])
    assert (process.returncode, document["frames"]) == (0, 3)
    assert document["malformed"] == {"too_short": 0, "flags": 1}


def test_it_stops_after_seconds_and_prints_no_colour_to_a_pipe() -> None:
    with running("--seconds", "0.05") as (process, _):
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert output.startswith("Listened on 127.0.0.1:")
    assert "\x1b" not in output


def test_live_figures_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    try:
        with running(stdout=theirs) as (process, sender):
            sender.send(vxlan(b"x" * 60, vni=4711))
            shown = b""
            while b"4711" not in shown:
                shown += os.read(ours, 4096)
            assert process.poll() is None
            assert b"Frames/s" in shown
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 0
    finally:
        os.close(ours)
        os.close(theirs)
