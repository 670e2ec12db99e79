"""A collector's machine with its neighbours, and the command line to it."""

from __future__ import annotations

import itertools
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import gettempdir

from collector.operate.lab import BPFFS, Lab, ensure_bpffs
from tests.lib.fault import Fault, Faulty, Outcome
from tests.lib.snapshot import Snapshot, await_same, take

SPAN = """\
version: 1
sources:
  - {name: pbx, type: span, interface: eth1, vni: 12}
t_meters:
  - {name: ohio, address: 192.0.2.2}
"""
_serials = itertools.count(1)
_HEADER = 8  # bytes of VXLAN


class Box:
    """`host` is the collector's: eth1 is a mirror port of `switch`, eth0 leads to `tmeter`."""

    def __init__(self, lab: Lab, folder: Path, faulty: Faulty) -> None:
        self.instance = f"test-{os.getpid()}-{next(_serials)}"
        self.pins = BPFFS / "collector" / self.instance
        self.file = folder / f"{self.instance}.yaml"
        self.switch, self.host, self.tmeter = (lab.namespace(name) for name in ("switch", "host", "tmeter"))
        self.faulty = faulty
        self._payloads = itertools.count(1)
        self.file.write_text(SPAN)

    def cable(self) -> None:
        self.switch.link("span0", self.host, "eth1")
        self.cable_uplink()

    def cable_uplink(self) -> None:
        self.host.link("eth0", self.tmeter, "eth0")
        self.host.address("eth0", "192.0.2.1/24")
        self.tmeter.address("eth0", "192.0.2.2/24")
        self.tmeter.features("eth0", {"rx-gro": True})  # so that its veth takes redirected frames

    def write(self, *changes: tuple[str, str]) -> None:
        """SPAN, with each pair's first text replaced by its second."""
        text = SPAN
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text)

    def argv(self, *arguments: str) -> list[str]:
        return ["-c", str(self.file), "--instance", self.instance, *arguments]

    def run(self, *arguments: str, prefix: tuple[str, ...] = ()) -> CompletedProcess[str]:
        """The real command line."""
        command = [*prefix, sys.executable, "-m", "collector", *self.argv(*arguments)]
        return self.host.run(command, check=False)

    def good(self, *arguments: str) -> str:
        """`quick` that must end well; returns what it printed."""
        done = self.quick(*arguments)
        assert (done.code, done.err if done.code else "") == (0, ""), done.err
        return done.out

    def quick(self, *arguments: str, fault: Fault | None = None) -> Outcome:
        """The same, forked from a process that has the product imported."""
        return self.faulty.run(self.host, self.argv(*arguments), fault or Fault())

    def clean(self) -> None:
        """What the test did not remove itself."""
        if self.pins.exists():
            self.quick("remove")

    def snapshot(self) -> Snapshot:
        return take(self.host, self.instance)

    def await_same(self, before: Snapshot) -> None:
        await_same(before, self.host, self.instance)

    def forwarded(self, size: int = 100) -> int:
        """Sends one mirrored frame; returns the VNI that it reaches the t-meter with, byte for byte."""
        frame = bytes.fromhex("020000000002 020000000001 88b5")
        frame += next(self._payloads).to_bytes(8, "big").ljust(size - len(frame), b"\0")
        with self.tmeter.enter():
            receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with self.switch.enter():
            sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with receiver, sender:
            receiver.bind(("", 4789))
            receiver.settimeout(5)
            sender.bind(("span0", 0))
            sender.send(frame)
            while True:
                packet = receiver.recv(65535)
                if packet[_HEADER:] == frame:
                    return int.from_bytes(packet[4:7], "big")


@contextmanager
def new_box(folder: Path, faulty: Faulty) -> Iterator[Box]:
    ensure_bpffs()
    with Lab() as lab:
        box = Box(lab, folder, faulty)
        try:
            yield box
        finally:
            box.clean()


def let_all_in(folder: Path) -> None:
    """pytest's folders are root's alone."""
    for each in takewhile(lambda path: path != Path(gettempdir()), (folder, *folder.parents)):
        each.chmod(0o755)


def complaint(outcome: Outcome | CompletedProcess[str]) -> str:
    """The error that a command ended with, on one line and without the warnings before it."""
    err = outcome.err if isinstance(outcome, Outcome) else outcome.stderr
    return " ".join(line.strip() for line in err.splitlines() if not line.startswith("warning: "))
