"""What the agent saw last, left in the kernel for `status` and `metrics` to read."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from collector.control.notes import read_text, write_text

_SIZE = 16384
_STALE = 90.0  # seconds after which an agent that said nothing is taken for dead; it speaks every 30


@dataclass(frozen=True)
class Observed:
    """`up`: what the probe says of the t-meter; None without one, or before its first answer."""

    pid: int = 0
    seen: float = 0.0  # seconds of CLOCK_BOOTTIME
    waiting: tuple[str, ...] = ()  # for what is not there, and for what stands in the way
    file_error: str = ""  # why the file is not what runs
    name_error: str = ""  # why the t-meter's name cannot be resolved now
    listen_error: str = ""
    listening: tuple[str, ...] = ()
    up: bool | None = None
    probe: str = ""  # in words
    round_trip_seconds: float | None = None
    complaints: tuple[tuple[str, int, str], ...] = ()  # ICMP errors: kind, how many, in words
    hint: str = ""


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def write_observed(folder: Path, observed: Observed) -> None:
    text = json.dumps(asdict(observed))
    write_text(folder, "agent", text if len(text.encode()) <= _SIZE else "{}", _SIZE)


def read_observed(folder: Path) -> Observed | None:
    """None where no agent runs."""
    text = read_text(folder, "agent")
    raw: dict[str, Any] = json.loads(text) if text else {}
    if not raw or boottime() - raw["seen"] > _STALE or not Path(f"/proc/{raw['pid']}").exists():
        return None
    known = {key: _frozen(value) for key, value in raw.items() if key in Observed.__dataclass_fields__}
    return Observed(**known)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
