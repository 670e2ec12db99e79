"""Which configuration the agent follows: the file, until somebody applies or removes something by hand."""

from __future__ import annotations

from pathlib import Path

from collector.control.config import BLANK, ConfigFile, digest, load_file, load_text
from collector.control.lastgood import APPLIED, LastGood
from collector.control.notes import change_notes, read_notes, read_text
from collector.errors import InputError

_REMOVED = "it was removed by hand (collector remove)"


class Choice:
    """`file_error`: why it is not the file, in words."""

    def __init__(self, path: Path, folder: Path, last_good: LastGood) -> None:
        self._path = path
        self._folder = folder
        self._last_good = last_good
        self._runs: ConfigFile | None = None  # as it was last seen in the kernel
        self._ran: ConfigFile | None = None  # before this machine restarted
        self._unconfirmed = ""  # before it restarted: for the notes, once there are any
        self.file: ConfigFile = BLANK
        self.file_error = ""

    @property
    def runs(self) -> ConfigFile | None:
        """What runs, or ran before this machine restarted, where that is not what is followed."""
        former = self._former
        return former if former and _text(former) != _text(self.file) else None

    @property
    def _former(self) -> ConfigFile | None:
        return self._runs or self._ran

    @property
    def is_from_before(self) -> bool:
        """What is followed ran before this machine restarted, and the file is not used."""
        return bool(self.file_error) and self.file is self._ran

    @property
    def is_blank(self) -> bool:
        """Nothing is wanted: that is not so where there is a file that cannot be used."""
        return not self.file.config.sources and self.file_error in ("", _REMOVED)

    def read(self) -> None:
        """Anew from the file, at the start and when asked to. What cannot be used leaves what runs."""
        self.settle()
        self._ran = None if self._runs else self._last_good.read()
        self.file_error = ""
        try:
            if self._path.exists():
                file = load_file(self._path)
                self.file_error = self._objection(file)
                self.file = (self._former or BLANK) if self.file_error else file
                return
            self._ran = None
            if self._runs:
                self.file_error = f"{self._path} is gone; what was applied before goes on"
        except InputError as error:
            self.file_error = str(error)
        self.file = self._former or BLANK

    def refresh(self, *, wiped: bool) -> str:
        """What somebody applied, or took away, by hand meanwhile; in words.

        `wiped`: the traces are lost, but not as `remove` takes them away.
        """
        applied = read_text(self._folder, "configuration")
        if applied == _text(self._runs):
            return ""
        self._see(applied)
        if applied == _text(self.file) or (applied is None and (wiped or not self.file.config.sources)):
            return ""
        self._ran, self._unconfirmed = None, ""
        self.file = self._runs or BLANK
        self.file_error = ""
        if read_notes(self._folder).unconfirmed:
            return "the agent follows what was there before the apply that was not confirmed"
        if applied is not None:
            return "the agent follows what was applied by hand"
        self.file_error = _REMOVED
        return f"the agent does nothing more: {_REMOVED}"

    def settle(self) -> None:
        """What runs now is our own doing."""
        self._see(read_text(self._folder, "configuration"))

    def keep(self) -> None:
        """On disk, for after a restart. The caller is `alone`, and what is followed runs, if it can."""
        notes = read_notes(self._folder)
        if notes.pending:
            self._last_good.refuse(notes.pending.digest)
            return
        if self._runs and self._unconfirmed:
            change_notes(self._folder, unconfirmed=self._unconfirmed)
            notes, self._unconfirmed = read_notes(self._folder), ""
        if self._runs or self.is_blank:
            self._last_good.keep(_text(self._runs), notes.unconfirmed)

    def _see(self, applied: str | None) -> None:
        if applied != _text(self._runs):
            self._runs = None if applied is None else load_text(applied, APPLIED)

    def _objection(self, file: ConfigFile) -> str:
        notes = read_notes(self._folder)
        before = "" if self._runs else self._last_good.unconfirmed()
        self._unconfirmed = before if digest(file.config) == before else ""
        if digest(file.config) in (notes.unconfirmed, self._unconfirmed):
            return (
                f"{self._path} was applied and not confirmed, so the one before it is in use; "
                "to use it all the same: collector apply"
            )
        if notes.pending and digest(file.config) != notes.pending.digest:
            return (
                f"{self._path} is not read while an apply waits to be confirmed; "
                "run: collector confirm, then: collector apply"
            )
        return ""


def _text(file: ConfigFile | None) -> str | None:
    return file.document.text if file else None
