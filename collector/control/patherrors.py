"""ICMP errors that come back for our outer packets: who says what, and what it means.

They are shown and nothing else is done about them: anyone on the way can forge one.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import MappingProxyType

from collector.datapath import icmp
from collector.datapath.settings import TMeter

QUIET = 1.0  # seconds between two rounds of reading: a flood must not cost more
MOST_PER_ROUND = 64
NONE_SEEN: Mapping[str, PathError] = MappingProxyType({})
_SOURCE_PORTS = range(49152, 65536)  # of outer packets: encap.h


@dataclass(frozen=True)
class PathError:
    kind: str  # one of icmp.KINDS
    count: int  # of those read; of a flood not all are
    reporter: str  # the address that said so last
    mtu: int | None  # bytes, IP header included, as told last
    last: float  # time.monotonic()
    last_time: float  # the same as time.time()
    words: str


class PathErrors:
    """A thread that reads ICMP errors until `stop`; it sleeps in the kernel while none come.

    `on_new` is called in it after a round of reading that found another kind, or another word of it: at most
    once in `quiet` seconds.
    Raises HostError without CAP_NET_RAW.
    """

    def __init__(self, t_meter: TMeter | None, on_new: Callable[[], None], *, quiet: float = QUIET) -> None:
        self._t_meter = t_meter
        self._on_new = on_new
        self._quiet = quiet
        self._seen = NONE_SEEN
        self._lock = threading.Lock()  # over _t_meter and _seen
        self._stopping = threading.Event()
        with ExitStack() as opened:
            self._sockets = {raw.fileno(): (version, raw) for version, raw in _open(opened)}
            self._bell = os.eventfd(0, os.EFD_CLOEXEC)
            opened.callback(os.close, self._bell)
            self._close = opened.pop_all().close
        self._thread = threading.Thread(target=self._run, name="path errors", daemon=True)
        self._thread.start()

    @property
    def seen(self) -> Mapping[str, PathError]:
        """By kind, since the start or since the t-meter was last another one."""
        return self._seen

    def set_target(self, t_meter: TMeter | None) -> None:
        with self._lock:
            if _identity(t_meter) != _identity(self._t_meter):
                self._seen = NONE_SEEN
            self._t_meter = t_meter

    def stop(self) -> None:
        self._stopping.set()
        os.eventfd_write(self._bell, 1)
        self._thread.join()
        self._close()

    def _run(self) -> None:
        poll = select.poll()
        for fd in (self._bell, *self._sockets):
            poll.register(fd, select.POLLIN)
        while not self._stopping.is_set():
            ready = [self._sockets[fd] for fd, _ in poll.poll() if fd != self._bell]
            new = [self._read(version, raw) for version, raw in ready]
            if any(new):
                self._on_new()
            self._stopping.wait(self._quiet)

    def _read(self, version: int, raw: socket.socket) -> bool:
        new = False
        for _ in range(MOST_PER_ROUND):
            received = icmp.receive(raw)
            if received is None:
                break
            error = icmp.parse_error(version, *received)
            new = (error is not None and self._note(error)) or new
        return new

    def _note(self, error: icmp.Error) -> bool:
        with self._lock:
            if self._t_meter is None or not is_ours(error.datagram, self._t_meter):
                return False
            before = self._seen.get(error.kind)
            count = before.count + 1 if before else 1
            told = PathError(
                error.kind, count, str(error.reporter), error.mtu, time.monotonic(), time.time(),
                in_words(error, self._t_meter),
            )  # fmt: skip
            self._seen = MappingProxyType({**self._seen, error.kind: told})
        return before is None or before.words != told.words


def _open(opened: ExitStack) -> list[tuple[int, socket.socket]]:
    found = []
    for version in (4, 6):
        try:
            found.append((version, opened.enter_context(icmp.open_errors(version))))
        except OSError as error:
            if version == 4 or error.errno != errno.EAFNOSUPPORT:  # a kernel started without IPv6
                raise
    return found


def _identity(t_meter: TMeter | None) -> tuple[object, ...] | None:
    return (t_meter.source, t_meter.address, t_meter.port) if t_meter else None


def is_ours(quoted: icmp.Datagram, t_meter: TMeter) -> bool:
    return (quoted.source, quoted.destination, quoted.port) == _identity(t_meter) and (
        quoted.source_port in _SOURCE_PORTS
    )


def in_words(error: icmp.Error, t_meter: TMeter) -> str:
    who = "this machine" if error.reporter == t_meter.source else str(error.reporter)
    if error.kind == icmp.FRAGMENTATION_NEEDED:
        return f"{who} says that {_too_large(error, t_meter)}"
    if error.kind == icmp.PORT_UNREACHABLE and error.reporter == t_meter.address:
        return (
            f"{who} answers that nothing listens on its UDP port {t_meter.port}: start the t-meter, or "
            "correct `port`"
        )
    words = _WORDS[error.kind].format(t_meter=t_meter.address, port=t_meter.port)
    return f"{who} says that {words}"


_WORDS = {
    icmp.PORT_UNREACHABLE: "UDP port {port} of {t_meter} is closed: start the t-meter, correct `port`, or "
    "open that port in the firewall there",
    icmp.HOST_UNREACHABLE: "{t_meter} does not answer in its own network: is it switched on, and is "
    "`address` right?",
    icmp.NETWORK_UNREACHABLE: "it knows no way to {t_meter}: is `address` right, is a route missing?",
    icmp.PROHIBITED: "a firewall forbids what is sent to {t_meter}: let UDP port {port} pass there",
    icmp.TIME_EXCEEDED: "what is sent to {t_meter} goes round in circles: mend the routes there",
    icmp.FRAGMENTS_LOST: "it gets only some fragments of the larger outer packets: let fragments pass the "
    "firewalls on the way, or choose `oversize: slice`",
}


def _too_large(error: icmp.Error, t_meter: TMeter) -> str:
    if error.mtu is None or error.mtu >= t_meter.path_mtu:
        return (
            f"some packets to {t_meter.address} are too large for the way, but not how large they may be: "
            f"give the route to it an mtu below {t_meter.path_mtu}, and run: collector apply"
        )
    return (
        f"packets over {error.mtu} bytes do not pass: the way to {t_meter.address} is narrower than "
        f"{t_meter.path_mtu}; give the route to it mtu {error.mtu}, and run: collector apply"
    )


def newest(errors: Mapping[str, PathError]) -> PathError | None:
    return max(errors.values(), key=lambda each: each.last, default=None)
