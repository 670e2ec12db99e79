"""What the appliance's intake says when it refuses a configuration that was brought to it."""

from __future__ import annotations

from pathlib import Path

# Its first line says where that came from, the others why it was refused.
REPORT = Path("/run/collector-refused")
_MOST_BYTES = 4096
_MOST_SHOWN = 300


def refused() -> str:
    """In words; "" where nothing was."""
    try:
        with REPORT.open("rb") as file:
            text = file.read(_MOST_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"{REPORT} cannot be read: {error.strerror}"
    where, *reasons = [_shown(line) for line in text.splitlines() if line.strip()] or ["somewhere"]
    why = reasons[0] if reasons else "nobody says why"
    return f"a configuration from {where} was refused, and changed nothing: {why}; mend it and bring it again"


def _shown(line: str) -> str:
    """Whoever brought it chose these characters: none of them may upset a terminal."""
    harmless = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line.strip())
    return harmless if len(harmless) <= _MOST_SHOWN else f"{harmless[:_MOST_SHOWN]}..."
