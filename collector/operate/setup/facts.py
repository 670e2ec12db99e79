"""What the questions need to know of this machine; `look.py` finds it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

Address = IPv4Address | IPv6Address
LookUp = Callable[[str], list[Address]]  # HostError where the name leads nowhere


@dataclass(frozen=True)
class NicFacts:
    """`network_file`: what systemd-networkd sets the NIC up by; None where it leaves the NIC alone."""

    name: str
    mac: str = ""
    driver: str = ""
    addresses: tuple[str, ...] = ()
    network_file: str | None = None
    settings: str = ""  # the text of that file
    link: bool = False


@dataclass(frozen=True)
class Facts:
    """`data`: the present file as plain data, None where there is none that can be used."""

    nics: tuple[NicFacts, ...]
    look_up: LookUp
    default_nic: str = ""  # which the default route goes by
    file: Path = Path("/etc/collector/collector.yaml")
    data: dict[str, Any] | None = None
    text: str = ""
    admin: str = ""  # the user who logs in by SSH; none where it cannot be told
    over_ssh: bool = False
    sources: tuple[dict[str, Any], ...] = field(init=False)
    t_meter: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        data = self.data or {}
        object.__setattr__(self, "sources", tuple(data.get("sources") or ()))
        object.__setattr__(self, "t_meter", dict((data.get("t_meters") or ({},))[0]))

    def nic(self, name: str) -> NicFacts | None:
        return next((each for each in self.nics if each.name == name), None)

    def nic_of(self, source: dict[str, Any]) -> str:
        """The name of a source's NIC; "" where it is not there."""
        wanted = source.get("interface", "")
        if isinstance(wanted, dict):
            mac = str(wanted.get("mac", "")).lower().replace("-", ":")
            return next((each.name for each in self.nics if each.mac == mac), "")
        return str(wanted) if self.nic(wanted) else ""
