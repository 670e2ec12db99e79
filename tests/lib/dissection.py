"""All that Wireshark says about frames, layer by layer, so that two views of the same frames can be held
against each other."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

from tests.lib.tshark import CHECKSUMS

_PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
_ABOUT_THE_FILE = frozenset({"geninfo", "frame"})
_COUNTED_OVER_ALL_LAYERS = frozenset({"udp.stream", "tcp.stream"})


@dataclass(frozen=True)
class Layer:
    name: str
    fields: tuple[tuple[str, str, str], ...]  # name, words, bytes in hex


def dissect(frames: Iterable[bytes]) -> list[list[Layer]]:
    """The layers of each frame. The frames are a second apart, whenever they came."""
    with TemporaryDirectory(prefix="collector-test-") as folder:
        file = Path(folder) / "frames.pcap"
        file.write_bytes(_PCAP + b"".join(_record(number, frame) for number, frame in enumerate(frames)))
        done = subprocess.run(
            ["tshark", "-r", file, "-n", *CHECKSUMS, "-T", "pdml"], text=True, capture_output=True, check=True
        )
    packets = ET.fromstring(done.stdout).iter("packet")  # noqa: S314 - of our own making
    return [
        [_layer(proto) for proto in packet.findall("proto") if proto.get("name") not in _ABOUT_THE_FILE]
        for packet in packets
    ]


def behind(layers: Sequence[Layer], last: str) -> list[Layer]:
    """The layers that follow the last one of that name."""
    names = [layer.name for layer in layers]
    return list(layers[len(names) - names[::-1].index(last) :])


def _record(number: int, frame: bytes) -> bytes:
    return struct.pack("<4I", 1_000_000_000 + number, 0, len(frame), len(frame)) + frame


def _layer(proto: ET.Element) -> Layer:
    fields = tuple(
        (field.get("name", ""), field.get("showname", field.get("show", "")), field.get("value", ""))
        for field in proto.iter("field")
        if field.get("name") not in _COUNTED_OVER_ALL_LAYERS
    )
    return Layer(proto.get("name", ""), fields)
