"""Whether the appliance went back to an older version by itself: a file that its start leaves."""

from __future__ import annotations

from pathlib import Path

FILE = Path("/run/appliance/fallback")


def read_fallback(file: Path = FILE) -> str | None:
    """Why it did, in words; empty when it did not; None where nothing is updated in this way."""
    if not file.parent.is_dir():
        return None
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
