"""Host names: resolved once for an apply, by the host's own resolver."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from collector.control.models import Config
from collector.control.values import Address, unfit
from collector.errors import HostError


def resolve(config: Config, in_use: Address | None) -> Address | None:
    """The t-meter's address: the one in use if the name still has it, else the resolver's first that fits."""
    wanted = config.t_meter_address
    if not isinstance(wanted, str):
        return wanted
    found = _look_up(wanted)
    fit = [address for address in found if not unfit(address)]
    if not fit:
        raise HostError(
            f"the t-meter's name {wanted} leads to {found[0]}, which cannot be the t-meter's address",
            "Look at /etc/hosts and this host's DNS, or write the t-meter's address in the file.",
        )
    return in_use if in_use in fit else fit[0]


def _look_up(name: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise HostError(
            f"the t-meter's name {name} cannot be resolved: {error.strerror}",
            "Look at this host's DNS (/etc/resolv.conf), or write the t-meter's address in the file.",
        ) from None
    return [ip_address(end[0]) for *_, end in found]
