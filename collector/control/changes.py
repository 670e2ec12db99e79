"""The changes a plan is made of. Data only: apply.py carries them out."""

from __future__ import annotations

from dataclasses import dataclass

from collector.control.notes import Tuning
from collector.control.state import Place
from collector.datapath.settings import Address, Settings
from collector.datapath.tmeter import Neighbour

_HOOKS = {"xdp-native": "XDP (native)", "xdp-generic": "XDP (generic)", "tc": "tc ingress"}


def resolver(address: Address) -> str:
    """What finds the MAC address that belongs to it."""
    return "ARP" if address.version == 4 else "neighbour discovery"


@dataclass(frozen=True)
class Tune:
    tuning: Tuning
    interface: str
    old: str
    new: str

    def describe(self) -> str:
        return f"set {self.interface} {self.tuning.name}: {self.old} -> {self.new}"


@dataclass(frozen=True)
class KeepNeighbour:
    neighbour: Neighbour

    def describe(self) -> str:
        address = self.neighbour.address
        return f"keep {address} resolved ({resolver(address)}), by the kernel itself"


@dataclass(frozen=True)
class ForgetNeighbour:
    neighbour: Neighbour

    def describe(self) -> str:
        return f"keep {self.neighbour.address} resolved no longer"


@dataclass(frozen=True)
class MakeSplitter:
    def describe(self) -> str:
        return "create the splitter, collector-tx and collector-rx"


@dataclass(frozen=True)
class DropSplitter:
    def describe(self) -> str:
        return "remove the splitter, collector-tx and collector-rx"


@dataclass(frozen=True)
class Load:
    settings: Settings
    former: Settings | None

    def describe(self) -> str:
        names = ", ".join(source.name for source in self.settings.sources) or "no source yet"
        what = "replace the program" if self.former else "load the program"
        return f"{what}: {names} to {self.settings.tmeter.name} ({self.settings.tmeter.address})"


@dataclass(frozen=True)
class WatchLosses:
    def describe(self) -> str:
        return "count what the egress NIC does not take (kernel tracepoints)"


@dataclass(frozen=True)
class Attach:
    place: Place
    interface: str
    program: str

    def describe(self) -> str:
        return f"attach {self.program} to {self.interface} at {_HOOKS[self.place.hook]}"


@dataclass(frozen=True)
class Replace:
    place: Place
    interface: str
    program: str

    def describe(self) -> str:
        return f"switch {self.interface} at {_HOOKS[self.place.hook]} to the new program"


@dataclass(frozen=True)
class Detach:
    place: Place
    interface: str

    def describe(self) -> str:
        return f"detach from {self.interface} at {_HOOKS[self.place.hook]}"


Change = (
    Tune
    | KeepNeighbour
    | ForgetNeighbour
    | MakeSplitter
    | DropSplitter
    | Load
    | WatchLosses
    | Attach
    | Replace
    | Detach
)
