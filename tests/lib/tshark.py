"""Wireshark's opinion of frames: it is not ours, so it can be a judge."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from scapy.utils import PcapWriter

CHECKSUMS = [
    word
    for layer in ("ip", "udp", "tcp")
    for word in ("-o", f"{layer}.check_checksum:TRUE")
]  # fmt: skip
# A header as it has to be, with every reserved bit zero.
VXLAN = {
    "udp.dstport": "4789",
    "vxlan.flags": "0x0800",
    "vxlan.vni": "12",
    "vxlan.gbp": "0",
    "vxlan.reserved8": "0",
}
NO_REASSEMBLY = ["-o", "ip.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE"]


def fields(frames: Iterable[bytes], names: Sequence[str], only: str = "") -> list[tuple[str, ...]]:
    """For each frame that the display filter `only` lets pass, the first value of each field."""
    wanted = [word for name in names for word in ("-e", name)]
    chosen = ["-Y", only] if only else []
    with TemporaryDirectory(prefix="collector-test-") as folder:
        file = Path(folder) / "frames.pcap"
        _write(file, frames)
        done = subprocess.run(
            ["tshark", "-r", file, "-n", *CHECKSUMS, *NO_REASSEMBLY, *chosen,
             "-T", "fields", "-E", "occurrence=f", *wanted],
            text=True, capture_output=True, check=True,
        )  # fmt: skip
    return [tuple(line.split("\t")) for line in done.stdout.splitlines()]


def _write(file: Path, frames: Iterable[bytes]) -> None:
    with PcapWriter(str(file), linktype=1, sync=False) as writer:
        for frame in frames:
            writer.write(frame)
