"""What the configuration needs of the host around it: a file for what sets up its firewall and network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path

from collector.control.choice import Choice
from collector.control.files import replace_file
from collector.control.models import Metrics, SpanSource
from collector.control.status import Status
from collector.errors import HostError

_NAME = "needs.json"


@dataclass(frozen=True)
class Needs:
    """`listen`: what others must reach. `quiet_nics`: NICs on which this host says nothing and lets nothing
    in; None: not known yet, so that they stay as they are."""

    listen: tuple[str, ...] = ()
    quiet_nics: tuple[str, ...] | None = ()


def needs_of(choice: Choice, status: Status) -> Needs:
    return Needs(_listen(choice.file.config.metrics), _quiet_nics(choice, status))


def _listen(metrics: Metrics) -> tuple[str, ...]:
    wide = [(host, port) for host, port in metrics.endpoints if not ip_address(host).is_loopback]
    return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in wide)


def _quiet_nics(choice: Choice, status: Status) -> tuple[str, ...] | None:
    """Of what runs, not of what is wanted: a NIC that `check` refuses may be the one that an administrator
    comes in by."""
    if not status.sources:
        return () if choice.is_blank else None
    config = (choice.runs or choice.file).config
    spans = {each.name for each in config.sources if isinstance(each, SpanSource) and not each.shared}
    names = {each.interface for each in status.sources if each.name in spans}
    return tuple(sorted(name for name in names if _is_name(name)))


def _is_name(interface: str) -> bool:
    """Not that of a NIC which is away and of which only its MAC address is known."""
    return not re.search(r"[\s:]", interface)


class NeedsFile:
    """In the folder that systemd gives the service; outside of one, there is none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        folder = environment.get("RUNTIME_DIRECTORY", "")
        self.path = Path(folder) / _NAME if folder else None

    def write(self, needs: Needs) -> str:
        """Only where it changes; returns why it could not, in words."""
        try:
            if self.path and _content(self.path) != (text := json.dumps(asdict(needs)) + "\n"):
                replace_file(self.path, text)
        except HostError as error:
            return error.what
        return ""


def _content(path: Path) -> str:
    return path.read_text() if path.exists() else ""
