"""One call over D-Bus: that systemd-networkd reads its files anew (org.freedesktop.network1(5))."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from collector.errors import HostError

SOCKET = Path("/run/dbus/system_bus_socket")
PATIENCE = 25.0  # seconds, D-Bus's own

_CALL, _RETURN, _ERROR = 1, 2, 3  # message types
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_TO, _DESTINATION = range(1, 7)  # header fields
_HELLO = ("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "org.freedesktop.DBus")
_RELOAD = (
    "/org/freedesktop/network1",
    "org.freedesktop.network1.Manager",
    "Reload",
    "org.freedesktop.network1",
)


def reload_networkd(path: Path = SOCKET) -> None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bus:
            bus.settimeout(PATIENCE)
            bus.connect(str(path))
            _authenticate(bus)
            for serial, called in enumerate((_HELLO, _RELOAD), 1):
                bus.sendall(_message(serial, *called))
                _await_answer(bus, serial)
    except OSError as error:
        raise HostError(
            f"systemd-networkd cannot be told to read its files anew: {error}",
            "Look at it: systemctl status dbus systemd-networkd",
        ) from None


def _authenticate(bus: socket.socket) -> None:
    """By the credentials that the kernel vouches for (D-Bus specification, EXTERNAL)."""
    bus.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
    answer = b""
    while answer.count(b"\r\n") < 2:
        answer += _receive(bus, 1)
    if not answer.splitlines()[1].startswith(b"OK "):
        raise OSError(f"D-Bus refuses this process: {answer.decode(errors='replace').strip()}")


def _message(serial: int, path: str, interface: str, member: str, destination: str) -> bytes:
    """A call without arguments."""
    fields = b""
    strings = ((_PATH, "o", path), (_INTERFACE, "s", interface), (_MEMBER, "s", member),
               (_DESTINATION, "s", destination))  # fmt: skip
    for code, kind, text in strings:
        fields += bytes(-len(fields) % 8)
        fields += struct.pack("<B B1sx I", code, 1, kind.encode(), len(text)) + text.encode() + b"\0"
    head = struct.pack("<c3B III", b"l", _CALL, 0, 1, 0, serial, len(fields)) + fields
    return head + bytes(-len(head) % 8)


def _await_answer(bus: socket.socket, serial: int) -> None:
    while True:
        start = _receive(bus, 16)
        order = "<" if start[:1] == b"l" else ">"
        length, _, fields_length = struct.unpack(f"{order}4xIII", start)
        fields = _receive(bus, fields_length + -fields_length % 8)[:fields_length]
        body = _receive(bus, length)
        found = _read_fields(fields, order)
        if found.get(_REPLY_TO) != serial:
            continue
        if start[1] == _ERROR:
            raise OSError(_said(body, order) or str(found.get(_ERROR_NAME)))
        return


def _read_fields(raw: bytes, order: str) -> dict[int, object]:
    """Numbers and texts; none of the header fields that D-Bus has is anything else."""
    found: dict[int, object] = {}
    at = 0
    while at < len(raw):
        at += -at % 8
        code, kind = raw[at], raw[at + 2 : at + 3]
        at += 4
        if kind == b"g":
            at += 1 + raw[at] + 1
            continue
        (number,) = struct.unpack_from(f"{order}I", raw, at)
        at += 4
        found[code] = number
        if kind in (b"s", b"o"):
            found[code] = raw[at : at + number].decode(errors="replace")
            at += number + 1
    return found


def _said(body: bytes, order: str) -> str:
    if len(body) < 4:
        return ""
    (length,) = struct.unpack_from(f"{order}I", body)
    return body[4 : 4 + length].decode(errors="replace")


def _receive(bus: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        part = bus.recv(count - len(received))
        if not part:
            raise OSError("D-Bus has closed the connection")
        received += part
    return received
