"""The counters that a NIC's driver keeps itself (`ethtool -S`), of which clouds have some that matter."""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from collections.abc import Mapping

_SIOCETHTOOL = 0x8946
_ETHTOOL_GSTRINGS, _ETHTOOL_GSTATS, _ETHTOOL_GSSET_INFO = 0x1B, 0x1D, 0x37
_ETH_SS_STATS = 1
_NAME = 32  # bytes, ETH_GSTRING_LEN
# The kernel writes as many as there are now, not as many as were asked for: queues may be added in between.
_SPARE = 1024
_ALLOWANCE = "_allowance_exceeded"


def allowances(name: str) -> dict[str, int]:
    """Packets that AWS queued or dropped because the instance used up its share of the network, by share
    (bw_in, bw_out, pps, conntrack, linklocal); empty where the driver does not count that."""
    return select_allowances(statistics(name))


def select_allowances(counted: Mapping[str, int]) -> dict[str, int]:
    return {
        name.removesuffix(_ALLOWANCE): value for name, value in counted.items() if name.endswith(_ALLOWANCE)
    }


def statistics(name: str) -> dict[str, int]:
    """By the driver's own names; empty where it has none, or the NIC is gone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            return _statistics(control, name)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENODEV):
                return {}
            raise


def _statistics(control: socket.socket, name: str) -> dict[str, int]:
    asked = _ask(control, name, struct.pack("=IIQI", _ETHTOOL_GSSET_INFO, 0, 1 << _ETH_SS_STATS, 0))
    _, _, known, count = struct.unpack("=IIQI", asked)
    if not known or not count:
        return {}
    header = struct.pack("=III", _ETHTOOL_GSTRINGS, _ETH_SS_STATS, count)
    names = _ask(control, name, header, (count + _SPARE) * _NAME)
    values = _ask(control, name, struct.pack("=II", _ETHTOOL_GSTATS, count), (count + _SPARE) * 8)
    if struct.unpack_from("=8xI", names) != struct.unpack_from("=4xI", values):
        return {}  # the driver has just been set up anew: at the next reading they agree
    return decode(count, names[12:], values[8:])


def decode(count: int, names: bytes, values: bytes) -> dict[str, int]:
    numbers = struct.unpack_from(f"={count}Q", values)
    texts = (names[at : at + _NAME].split(b"\0", 1)[0] for at in range(0, count * _NAME, _NAME))
    return {
        text.decode(errors="replace").strip(): number for text, number in zip(texts, numbers, strict=True)
    }


def _ask(control: socket.socket, name: str, request: bytes, room: int = 0) -> bytes:
    buffer = array.array("B", request + bytes(room))
    ifreq = struct.pack("16sP16x", name.encode(), buffer.buffer_info()[0])
    fcntl.ioctl(control, _SIOCETHTOOL, ifreq)
    return buffer.tobytes()
