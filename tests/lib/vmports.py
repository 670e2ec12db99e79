"""The ends of a virtual machine's cables: its NICs, its serial ports, and QEMU's own control."""

from __future__ import annotations

import json
import queue
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


class VmError(AssertionError):
    """What the machine did not do, with the end of its console."""


class Nic:
    """The far end of the machine's cable: a datagram is a frame."""

    def __init__(self, folder: Path, number: int) -> None:
        self.mac = f"52:54:00:00:00:{number + 1:02x}"
        guest, ours = folder / f"nic{number}", folder / f"far{number}"
        self._guest = str(guest)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(ours))
        self._frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.answer: Callable[[bytes], None] = lambda _frame: None
        # What nobody takes off the cable would stop the machine's NIC.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.options = (
            f"dgram,id=nic{number},local.type=unix,local.path={guest},remote.type=unix,remote.path={ours}"
        )

    def _read(self) -> None:
        while frame := self._socket.recv(65536):
            self.answer(frame)
            self._frames.put(frame)

    def send(self, frame: bytes) -> None:
        self._socket.sendto(frame, self._guest)

    def got(self, wanted: Callable[[bytes], bool], seconds: float) -> bytes | None:
        """The next frame of the wanted kind, if it comes in time; others are thrown away."""
        end = time.monotonic() + seconds
        with suppress(queue.Empty):
            while True:
                frame = self._frames.get(timeout=max(0.0, end - time.monotonic()))
                if wanted(frame):
                    return frame
        return None

    def receive(self, wanted: Callable[[bytes], bool], seconds: float = 30.0) -> bytes:
        frame = self.got(wanted, seconds)
        if frame is None:
            raise VmError(f"the wanted frame did not come within {seconds:.0f} s")
        return frame

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()


class Stream:
    """What a machine says on one of its ports, kept whole."""

    def __init__(self, path: Path) -> None:
        self._socket = _connect(path)
        self._changed = threading.Condition()
        self._said = bytearray()
        self._closed = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while part := self._socket.recv(65536):
            with self._changed:
                self._said += part
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def say(self, words: bytes) -> None:
        self._socket.sendall(words)

    @property
    def text(self) -> str:
        with self._changed:
            return self._said.decode(errors="replace").replace("\r", "")

    def wait_for(self, pattern: str, start: int, seconds: float) -> re.Match[str] | None:
        """The first match behind the first `start` characters; None when there is none in time."""
        end = time.monotonic() + seconds
        while not (found := re.compile(pattern, re.MULTILINE).search(self.text, start)):
            with self._changed:
                if self._closed or not self._changed.wait(max(0.0, end - time.monotonic())):
                    break
        return found

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()


class Qmp:
    def __init__(self, path: Path) -> None:
        self._socket = _connect(path)
        self._lines = self._socket.makefile("rw", encoding="utf-8")
        self._lines.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        self._lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._lines.flush()
        for line in self._lines:
            answer = json.loads(line)
            if "error" in answer:
                raise VmError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise VmError(f"QEMU ended before it answered: {command}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def _connect(path: Path) -> socket.socket:
    """QEMU's socket is there a moment before QEMU listens."""
    end = time.monotonic() + 20
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except ConnectionRefusedError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return connection
