"""A stand-in t-meter: receives VXLAN, counts what arrives, and keeps it if asked."""

from __future__ import annotations

import json as jsonlib
import socket
import struct
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from collector.operate.figures import Screen, open_screen, render
from collector.operate.listen import LISTEN, address_text, open_socket, socket_drops
from collector.operate.pcap import PcapWriter
from collector.operate.report import NANOSECONDS, Report, to_json
from collector.stop import StopSignals

__all__ = ["Report", "SinkOptions", "render", "run", "sink", "to_json"]

LARGEST_DATAGRAM = 65536
ANCILLARY_SPACE = socket.CMSG_SPACE(16)
BURST = 256

_timespec = struct.Struct("@ll").unpack


@dataclass(frozen=True)
class SinkOptions:
    """Stops after `count` frames or `seconds`, whichever comes first; None is no limit."""

    listen: tuple[str, int]
    pcap: Path | None = None
    json: bool = False
    count: int | None = None
    seconds: float | None = None


EPILOG = """\b
Example: show for a minute what arrives, and keep the frames for Wireshark:
  collector sink --seconds 60 --pcap frames.pcap
\b
Example: wait for 1000 frames on another port, and print JSON for a script:
  collector sink --listen 0.0.0.0:14789 --count 1000 --json
"""


@click.command(epilog=EPILOG)
@click.option("--listen", type=LISTEN, default="0.0.0.0:4789", show_default=True, help="Where to receive.")
@click.option(
    "--pcap",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the inner frames to FILE, for Wireshark. An existing file is replaced.",
)
@click.option("--json", is_flag=True, help="Print one JSON document at the end instead of text.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N frames.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Stop after S seconds."
)
def sink(
    listen: tuple[str, int], pcap: Path | None, json: bool, count: int | None, seconds: float | None
) -> None:
    """Receive VXLAN as a t-meter would, and show what arrives.

    Use it to see that a collector's frames get here before you install a real t-meter, or in its
    place for a while. It counts frames by VNI, and the SIP calls and RTP streams in them. Stop it with
    Ctrl-C: then it prints a summary.
    """
    report = run(SinkOptions(listen, pcap, json, count, seconds))
    if json:
        click.echo(jsonlib.dumps(to_json(report), indent=2))
    else:
        Console(highlight=False).print(render(report))


def run(options: SinkOptions) -> Report:
    """Blocks until a limit of `options`, SIGINT or SIGTERM; call it in the main thread.

    Raises HostError or InputError where it cannot listen or write.
    """
    with ExitStack() as stack:
        receiving = stack.enter_context(open_socket(options.listen))
        pcap = stack.enter_context(PcapWriter(options.pcap)) if options.pcap else None
        report = Report(listen=address_text(receiving.getsockname()), pcap=options.pcap)
        stop = stack.enter_context(StopSignals())
        click.echo(f"listening on {report.listen}", err=True)
        screen = stack.enter_context(closing(open_screen(options.json)))
        started = time.monotonic()
        _receive(Receiver(receiving, report, pcap, options.count), screen, stop, options.seconds)
        report.seconds = time.monotonic() - started
        report.socket_drops = socket_drops(receiving)
    return report


def _receive(receiver: Receiver, screen: Screen, stop: StopSignals, seconds: float | None) -> None:
    now = time.monotonic()
    deadline = now + seconds if seconds is not None else float("inf")
    next_update = now + screen.interval
    while not stop.requested and now < deadline:
        emptied = receiver.receive(BURST)
        if receiver.full:
            return
        now = time.monotonic()
        if now >= next_update:
            receiver.flush()
            screen.update(receiver.report, now)
            next_update = now + screen.interval
        if emptied:
            stop.wait(receiver.socket.fileno(), min(next_update, deadline) - now)
            now = time.monotonic()
    receiver.drain()


class Receiver:
    """Takes datagrams from the socket into the report and the pcap file, until there are `count` frames."""

    def __init__(
        self, receiving: socket.socket, report: Report, pcap: PcapWriter | None, count: int | None
    ) -> None:
        self.socket = receiving
        self.report = report
        self._pcap = pcap
        self._count = count
        self._buffer = bytearray(LARGEST_DATAGRAM)
        self._view = memoryview(self._buffer)

    @property
    def full(self) -> bool:
        return self._count is not None and self.report.frames >= self._count

    def receive(self, most: int) -> bool:
        """True if the socket was emptied before `most` datagrams had come."""
        buffers = [self._buffer]
        for _ in range(most):
            if self.full:
                return False
            try:
                size, ancillary, _, _ = self.socket.recvmsg_into(buffers, ANCILLARY_SPACE)
            except BlockingIOError:
                return True
            self._take(self._view[:size], arrival_time(ancillary))
        return False

    def drain(self) -> None:
        """Takes what waits in the socket, so that stopping loses nothing; for a second at most, as more
        may come all the time. Times of arrival do not tell: the first may be stamped only when read."""
        deadline = time.monotonic() + 1
        while not self.full and time.monotonic() < deadline:
            if self.receive(BURST):
                return

    def flush(self) -> None:
        if self._pcap:
            self._pcap.flush()

    def _take(self, datagram: memoryview, arrived_ns: int) -> None:
        frame = self.report.add(datagram, arrived_ns)
        if frame is not None and self._pcap:
            self._pcap.write(frame, arrived_ns)


def arrival_time(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Nanoseconds since 1970, by the kernel's stamp: a datagram may have waited in the socket for long."""
    if not ancillary:
        return time.time_ns()
    seconds, nanoseconds = _timespec(ancillary[0][2])
    return int(seconds * NANOSECONDS + nanoseconds)
