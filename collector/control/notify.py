"""What a service tells systemd: sd_notify(3), one datagram a message, and nothing without systemd."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"

log = logging.getLogger("collector")


class Systemd:
    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        wanted = int(environment.get("WATCHDOG_USEC", "0")) if ours else 0
        self.watchdog = wanted / 2e6 or None  # seconds between two signs of life: half of what is granted
        self._status = ""

    def say(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto("\n".join(lines).encode(), self._address)
            except OSError as error:  # frames matter more than who is told of them
                log.warning("systemd could not be told %s: %s", lines[0], error.strerror)

    def reloading(self) -> None:
        now = int(time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6)
        self.say("RELOADING=1", f"MONOTONIC_USEC={now}")

    def status(self, words: str) -> None:
        if words != self._status:
            self._status = words
            self.say(f"STATUS={words}")
