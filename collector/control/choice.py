"""Which configuration the agent follows: the file, until somebody applies or removes something by hand."""

from __future__ import annotations

from pathlib import Path

from collector.control.config import BLANK, ConfigFile, digest, load_file, load_text
from collector.control.notes import read_notes, read_text
from collector.errors import InputError

_APPLIED = "the configuration that was applied"


class Choice:
    """`file_error`: why it is not the file, in words."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._applied: str | None = None  # as it was last seen in the kernel
        self.file: ConfigFile = BLANK
        self.file_error = ""

    def read(self) -> None:
        """Anew from the file, at the start and when asked to. What cannot be used leaves what runs."""
        self._applied = read_text(self._folder, "configuration")
        self.file_error = ""
        try:
            if self._path.exists():
                self.file = self._unless_taken_back(load_file(self._path))
                return
            if self._applied is not None:
                self.file_error = f"{self._path} is gone; what was applied before goes on"
        except InputError as error:
            self.file_error = str(error)
        self.file = self._running()

    def refresh(self) -> None:
        """What somebody applied, or took away, by hand meanwhile."""
        applied = read_text(self._folder, "configuration")
        if applied == self._applied:
            return
        self._applied = applied
        if applied != self.file.document.text:
            self.file = self._running()
            self.file_error = "" if applied is not None else "it was removed by hand (collector remove)"

    def _running(self) -> ConfigFile:
        return BLANK if self._applied is None else load_text(self._applied, _APPLIED)

    def _unless_taken_back(self, file: ConfigFile) -> ConfigFile:
        if digest(file.config) != read_notes(self._folder).unconfirmed:
            return file
        self.file_error = (
            f"{self._path} was applied and not confirmed, so the one before it is in use; "
            "to use it all the same: collector apply"
        )
        return self._running()
