"""Whether the t-meter is there: pings it, or connects to a port of it, and says what that means."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from collector.control.patherrors import PathError, newest
from collector.datapath import icmp
from collector.datapath.settings import Address
from collector.errors import HostError

INTERVAL = 5.0  # seconds between two probes
TIMEOUT = 2.0  # seconds that an answer may take
DOWN_AFTER = 3  # failures in a row; one answer is enough for up
RECENT = 60.0  # seconds for which an ICMP error is news
NOTHING = "none"
PING = "icmp"


@dataclass(frozen=True)
class Target:
    address: Address
    probe: str  # icmp, tcp:PORT or none, as in the file


@dataclass(frozen=True)
class ProbeResult:
    """`up` is None as long as nothing is known; `words` is empty when there is nothing to say."""

    up: bool | None
    since: float  # time.monotonic() at which `up` became what it is
    round_trip_seconds: float | None = None  # of the last answer
    failures: int = 0  # in a row, up to now
    words: str = ""


@dataclass(frozen=True)
class Attempt:
    """One probe: the seconds that it took, or what went wrong and what to do about it."""

    seconds: float | None = None
    failure: str = ""
    advice: str = ""


class Prober:
    """A thread that probes until `stop`. `on_change` is called in it when `up` or `words` have changed."""

    def __init__(
        self,
        target: Target | None,
        on_change: Callable[[], None],
        *,
        interval: float = INTERVAL,
        timeout: float = TIMEOUT,
    ) -> None:
        self._target = target
        self._on_change = on_change
        self._interval, self._timeout = interval, timeout
        self._result = unknown()
        self._lock = threading.Lock()  # over _target and _result: a result belongs to one target
        self._stopping = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self._thread.start()

    @property
    def result(self) -> ProbeResult:
        return self._result

    def set_target(self, target: Target | None) -> None:
        """What is known of another target is forgotten, and the new one is probed at once."""
        with self._lock:
            if target == self._target:
                return
            self._target, self._result = target, unknown()
        os.eventfd_write(self._bell, 1)

    def stop(self) -> None:
        self._stopping = True
        os.eventfd_write(self._bell, 1)
        self._thread.join()
        os.close(self._bell)

    def _run(self) -> None:
        while not self._stopping:
            target = self._target
            if target is None or target.probe == NOTHING:
                self._wait(None)
                continue
            attempt = probe(target, self._timeout, self._bell)
            if attempt is not None:
                self._publish(target, attempt)
            self._wait(self._interval)

    def _wait(self, seconds: float | None) -> None:
        """Until then, or until somebody rings."""
        if _ready(self._bell, select.POLLIN, self._bell, seconds) is None:
            os.eventfd_read(self._bell)

    def _publish(self, target: Target, attempt: Attempt) -> None:
        with self._lock:
            if target is not self._target:
                return
            before, self._result = self._result, judge(self._result, attempt, time.monotonic())
            after = self._result
        if (before.up, before.words) != (after.up, after.words):
            self._on_change()


def unknown() -> ProbeResult:
    return ProbeResult(None, time.monotonic())


def judge(before: ProbeResult, attempt: Attempt, now: float) -> ProbeResult:
    if attempt.seconds is not None:
        since = before.since if before.up else now
        return ProbeResult(True, since, attempt.seconds)
    failures = before.failures + 1
    if failures < DOWN_AFTER:
        return replace(before, failures=failures)
    # Without the number: it would be news at every probe.
    words = f"{attempt.failure} ({DOWN_AFTER} times in a row, or more)"
    words += f"; {attempt.advice}" if attempt.advice else ""
    return ProbeResult(False, before.since if before.up is False else now, None, failures, words)


def probe(target: Target, timeout: float, bell: int) -> Attempt | None:
    """One probe. None where `bell`, an eventfd, was rung meanwhile."""
    start = time.monotonic()
    try:
        attempt = (
            _ping(target.address, timeout, bell)
            if target.probe == PING
            else _connect(target.address, int(target.probe.removeprefix("tcp:")), timeout, bell)
        )
    except OSError as error:
        return Attempt(failure=_no_way(target.address, error))
    except HostError as error:
        return Attempt(failure=error.what, advice=error.hint)
    if attempt is not None and not attempt.failure:
        return Attempt(seconds=time.monotonic() - start)
    return attempt


def _no_way(address: Address, error: OSError) -> str:
    if error.errno == errno.ENETUNREACH:
        return f"This machine has no route to {address}"
    if error.errno == errno.EHOSTUNREACH:
        return f"{address} cannot be reached: the next router, or the t-meter's network, does not find it"
    if error.errno in (errno.EPERM, errno.EACCES):
        return f"A firewall of this machine keeps it from probing {address}"
    return f"{address} cannot be probed: {os.strerror(error.errno or 0)}"


def _ping(address: Address, timeout: float, bell: int) -> Attempt | None:
    request = icmp.echo_request(address.version, *icmp.nonce())
    deadline = time.monotonic() + timeout
    with icmp.open_echo(address) as raw:
        raw.send(request)
        while ready := _ready(raw.fileno(), select.POLLIN, bell, deadline - time.monotonic()):
            received = icmp.receive(raw)
            if received and received[1] == address and icmp.answers(address.version, received[0], request):
                return Attempt()
    if ready is None:
        return None
    return Attempt(
        failure=f"{address} does not answer ping",
        advice="many firewalls drop ping: if frames arrive there, set `probe: none` or `probe: tcp:PORT`",
    )


def _connect(address: Address, port: int, timeout: float, bell: int) -> Attempt | None:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as tcp:
        code = tcp.connect_ex((str(address), port))
        if code == errno.EINPROGRESS:
            ready = _ready(tcp.fileno(), select.POLLOUT, bell, timeout)
            if ready is None:
                return None
            code = tcp.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if ready else errno.ETIMEDOUT
    if code == errno.ECONNREFUSED:
        return Attempt(
            failure=f"{address} is there, but nothing listens on its TCP port {port}",
            advice="start what should listen there, or correct the port in `probe`",
        )
    if code == errno.ETIMEDOUT:
        return Attempt(
            failure=f"{address} does not answer on TCP port {port}",
            advice="is it switched on, and do the firewalls on the way let TCP to that port pass?",
        )
    if code:
        raise OSError(code, os.strerror(code))
    return Attempt()


def _ready(fd: int, event: int, bell: int, seconds: float | None) -> bool | None:
    """Whether `fd` became ready in time; None where the bell was rung first."""
    poll = select.poll()
    poll.register(fd, event)
    poll.register(bell, select.POLLIN)
    found = dict(poll.poll(None if seconds is None else max(0, seconds) * 1000))
    return None if bell in found else fd in found


def hint(
    result: ProbeResult, *, frames_flow: bool, errors: Mapping[str, PathError], now: float, address: Address
) -> str:
    """The one sentence that `status` gives beside the probe's result; empty where all is well.

    `frames_flow`: frames have come from a source, and left, of late. `now`: time.monotonic(). What the
    outer packets themselves met counts more than what a probe says.
    """
    error = newest(errors)
    if error and frames_flow and now - error.last < RECENT:
        return error.words
    if result.up is False and frames_flow:
        return (
            f"frames leave for {address} all the same, since VXLAN needs no answer, but nobody knows "
            f"whether they arrive: {result.words}"
        )
    if result.up is False:
        return result.words
    if not frames_flow and result.up:
        return f"{address} answers, but no frame comes from any source: check the mirror"
    return "" if frames_flow else "no frame comes from any source: check the mirror"
