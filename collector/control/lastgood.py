"""The last configuration that was applied, on disk: the kernel forgets it when the machine restarts.

Beside it lies which one was applied and not confirmed, so that a restart does not confirm it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from collector.control.config import ConfigFile, load_file
from collector.control.files import replace_file
from collector.errors import HostError, InputError

APPLIED = "the configuration that was applied"  # in place of a file's name

log = logging.getLogger("collector")


class LastGood:
    """In the folder that systemd names, if it does; without one, nothing is kept."""

    def __init__(self, instance: str, environment: Mapping[str, str] = os.environ) -> None:
        state = environment.get("STATE_DIRECTORY", "").partition(":")[0]
        self._folder = Path(state) / instance if state else None
        self._trouble = ""

    def read(self) -> ConfigFile | None:
        """None also where it cannot be used: it is not worth a failure."""
        file = self._folder and self._folder / "applied.yaml"
        if file is None or _content(file) is None:
            return None
        try:
            return replace(load_file(file), filename=APPLIED)
        except InputError as error:
            log.warning("the configuration that was applied last cannot be used: %s", error)
            return None

    def unconfirmed(self) -> str:
        """The digest of what was applied and not confirmed; "" where there is none."""
        found = _content(self._folder / "unconfirmed") if self._folder else None
        return (found or b"").decode(errors="replace")

    def refuse(self, digest: str) -> None:
        self._write({"unconfirmed": digest})

    def keep(self, text: str | None, unconfirmed: str) -> None:
        """None: forgets it. A power cut in between leaves the newer file to be used."""
        self._write({"unconfirmed": unconfirmed, "applied.yaml": text or ""})

    def _write(self, wanted: Mapping[str, str]) -> None:
        """Frames matter more than what is kept for the next start: a failure is said, once."""
        trouble = ""
        try:
            for name, text in wanted.items():
                if self._folder:
                    _replace(self._folder / name, text)
        except (HostError, OSError) as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            log.warning("what is applied cannot be kept for the next start: %s", trouble)
        self._trouble = trouble


def _replace(file: Path, text: str) -> None:
    """Only by what is new, and by nothing where it is empty."""
    if _content(file) == (text.encode() or None):
        return
    if text:
        replace_file(file, text, mode=0o600)
    else:
        file.unlink()


def _content(file: Path) -> bytes | None:
    """None where there is no such file; what cannot be read is as good as empty."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return b""
