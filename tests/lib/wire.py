"""What arrives at the t-meter's end of the cable."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.lib.datapath import TMETER_MAC, Site

_ETH_P_ALL = 3


class Wire:
    def __init__(self, packets: socket.socket) -> None:
        self._packets = packets

    def receive(self) -> bytes:
        """The next packet to the t-meter: a collector with IPv6 says things of its own, to groups."""
        while True:
            packet = self._packets.recv(16384)
            if packet[:6].hex(":") == TMETER_MAC:
                return packet


@contextmanager
def t_meters_end(site: Site) -> Iterator[Wire]:
    with site.far.enter():
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    with packets:
        packets.bind(("eth0", 0))
        packets.settimeout(5)
        yield Wire(packets)
