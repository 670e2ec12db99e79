"""Puts frames on a wire and takes them off, by the kernel's packet sockets."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from collector.operate.lab import wait_for
from collector.operate.machine import ETH_P_ALL, Machine

SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_STATISTICS, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 6, 8, 23
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 0x10, 0x40
LARGEST = 70000
MAC_ADDRESSES = 12
OUTER = 14 + 20 + 8 + 8  # bytes in front of the inner frame: Ethernet, IPv4, UDP, VXLAN


def port(machine: Machine, ifname: str) -> socket.socket:
    """What is sent on it leaves `ifname` as it is: as a mirror port sends it."""
    with machine.enter():
        sending = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sending.bind((ifname, 0))
    return sending


def send(machine: Machine, ifname: str, frames: Iterable[bytes]) -> None:
    with port(machine, ifname) as sending:
        for frame in frames:
            while not _took(sending, frame):
                pass


def _took(sending: socket.socket, frame: bytes) -> bool:
    """False where the queue of a NIC that polls on another CPU is full: the frame is to be sent again."""
    try:
        sending.send(frame)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return False
    return True


class Tap:
    """What enters a NIC, with the VLAN tag that the kernel keeps aside back in its place."""

    def __init__(self, machine: Machine, ifname: str, wanted: Callable[[bytes], bool] | None = None) -> None:
        self._wanted = wanted
        self._kept: list[bytes] = []
        with machine.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 29)
            for option in (PACKET_AUXDATA, PACKET_IGNORE_OUTGOING):
                self._socket.setsockopt(SOL_PACKET, option, 1)
            self._socket.bind((ifname, ETH_P_ALL))
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def frames(self) -> list[bytes]:
        """All so far, in the order in which they came."""
        while (frame := self._next()) is not None:
            if self._wanted is None or self._wanted(frame):
                self._kept.append(frame)
        _packets, lost = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        assert lost == 0, f"the tap itself was too slow for {lost} frames"
        return list(self._kept)

    def wait(self, count: int) -> list[bytes]:
        """All so far, once there are `count`."""
        wait_for(lambda: len(self.frames()) >= count, f"{count} frames")
        return self.frames()

    def _next(self) -> bytes | None:
        try:
            frame, control, _flags, _address = self._socket.recvmsg(LARGEST, 64)
        except BlockingIOError:
            return None
        return _with_tag(frame, control[0][2]) if control else frame


def _with_tag(frame: bytes, auxiliary: bytes) -> bytes:
    """`auxiliary`: struct tpacket_auxdata."""
    status, _len, _snaplen, _mac, _net, tci, tpid = struct.unpack_from("=3I4H", auxiliary)
    if not status & TP_STATUS_VLAN_VALID:
        return frame
    proto = tpid if status & TP_STATUS_VLAN_TPID_VALID else 0x8100
    return frame[:MAC_ADDRESSES] + struct.pack("!HH", proto, tci) + frame[MAC_ADDRESSES:]


def is_outer(frame: bytes) -> bool:
    """An IPv4 packet with UDP inside, or a fragment of one."""
    return frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_UDP


def inner(outer: bytes) -> bytes:
    return outer[OUTER:]
