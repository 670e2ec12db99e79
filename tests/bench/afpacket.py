"""The naive way: a Python program that reads a packet socket and sends each frame on over UDP.

`python -m tests.bench.afpacket NIC T_METER CPU` prints `ready` once it reads.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from collector.errors import HostError
from collector.operate.lab import stop
from tests.bench.frames import VXLAN_HEADER, VXLAN_PORT
from tests.bench.rig import COLLECTOR_CPU, T_METER_ADDRESS, Rig

ETH_P_ALL = 0x0003
SO_RCVBUFFORCE = 33
LONGEST_FRAME = 65535
RECEIVE_BUFFER = 1 << 24  # the usual one holds some forty frames, fewer than arrive between two turns of ours


@contextmanager
def python_forwarder(rig: Rig) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.afpacket", rig.source, T_METER_ADDRESS, str(COLLECTOR_CPU)]
    process = rig.collector.start(command, stdout=subprocess.PIPE)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise HostError("The Python forwarder did not start", "what it said is above")
        yield
    finally:
        stop(process)


def forward(nic: str, t_meter: str) -> None:
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    packets.bind((nic, 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((t_meter, VXLAN_PORT))
    print("ready", flush=True)
    while True:
        udp.send(VXLAN_HEADER + packets.recv(LONGEST_FRAME))


if __name__ == "__main__":
    _, nic_name, t_meter_address, cpu = sys.argv
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.sched_setaffinity(0, {int(cpu)})
    forward(nic_name, t_meter_address)
