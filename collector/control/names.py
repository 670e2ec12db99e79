"""Host names of t-meters, resolved by the host's own resolver."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address

from collector.control.models import Config
from collector.control.values import Address, unfit
from collector.errors import HostError

AGAIN = 30.0  # seconds between two look-ups of a name that is known
RETRY = 5.0  # seconds, while it is not


def resolve(config: Config, in_use: Address | None) -> Address | None:
    """The t-meter's address: the one in use if the name still has it, else the resolver's first that fits."""
    wanted = config.t_meter_address
    return choose(wanted, look_up(wanted), in_use) if isinstance(wanted, str) else wanted


def choose(name: str, found: list[Address], in_use: Address | None) -> Address:
    fit = [address for address in found if not unfit(address)]
    if not fit:
        raise HostError(
            f"the t-meter's name {name} leads to {found[0]}, which cannot be the t-meter's address",
            "Look at /etc/hosts and this host's DNS, or write the t-meter's address in the file.",
        )
    return in_use if in_use in fit else fit[0]


def look_up(name: str) -> list[Address]:
    """May take as long as the resolver's own patience: half a minute, where no server answers."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise HostError(
            f"the t-meter's name {name} cannot be resolved: {error.strerror}",
            "Look at this host's DNS (/etc/resolv.conf), or write the t-meter's address in the file.",
        ) from None
    return [ip_address(end[0]) for *_, end in found]


class Resolver:
    """Looks a name up again and again, in a thread of its own. `on_change` is called there."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._changed = threading.Condition()
        self._name: str | None = None
        self._answer: list[Address] | HostError | None = None
        self._known: list[Address] = []  # the last good answer for this name
        self._thread: threading.Thread | None = None

    def follow(self, name: str | None) -> None:
        with self._changed:
            if name != self._name:
                self._name, self._answer, self._known = name, None, []
                self._changed.notify()
        if name and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="resolver", daemon=True)
            self._thread.start()

    def look_again(self) -> None:
        """Routes or addresses changed: what failed before may work now."""
        with self._changed:
            if isinstance(self._answer, HostError):
                self._changed.notify()

    def address(self, config: Config, in_use: Address | None) -> Address | None:
        """As `resolve`, without waiting; HostError also while the first answer is still to come."""
        wanted = config.t_meter_address
        if not isinstance(wanted, str):
            return wanted
        with self._changed:
            same = wanted == self._name
            answer, known = (self._answer, self._known) if same else (None, [])
        if known:
            return choose(wanted, known, in_use)
        if in_use:
            return in_use
        if isinstance(answer, HostError):
            raise answer
        raise HostError(f"the t-meter's name {wanted} is being resolved")

    @property
    def trouble(self) -> str:
        """Why the name cannot be resolved now, though frames may go on to the address that it had."""
        with self._changed:
            return self._answer.what if isinstance(self._answer, HostError) else ""

    def _run(self) -> None:
        while True:
            with self._changed:
                name = self._name
                if name is None:
                    self._changed.wait()
                    continue
            answer = _try(name)
            with self._changed:
                if name != self._name:
                    continue
                news = _meaning(answer) != _meaning(self._answer)
                self._answer = answer
                self._known = self._known if isinstance(answer, HostError) else answer
            if news:
                self._on_change()
            with self._changed:
                if name == self._name:
                    self._changed.wait(RETRY if isinstance(answer, HostError) else AGAIN)


def _try(name: str) -> list[Address] | HostError:
    try:
        return look_up(name)
    except HostError as error:
        return error


def _meaning(answer: list[Address] | HostError | None) -> object:
    """The resolver turns the order about; that is no news."""
    return answer.what if isinstance(answer, HostError) else frozenset(answer) if answer else None
