"""What the agent writes in the log: each thing once, when it comes and when it is over."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator

from collector.control.follow import Look
from collector.control.status import UNATTACHED, SourceStatus, Status

log = logging.getLogger("collector")

_LEVELS = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}  # sd-daemon(3)


class Journal:
    def __init__(self) -> None:
        self._wrong: tuple[str, ...] = ()
        self._hooks: dict[str, list[str]] = {}  # by source: those that it had, the last one last

    def changes(self, done: Look) -> None:
        if done.repaired:
            log.warning("somebody took away or changed what was applied; it is put back:")
        for change in done.changes:
            log.info("%s", change.describe())
        for words in done.warnings if done.changes else ():
            log.warning("%s", words)

    def state(self, status: Status, *troubles: str) -> None:
        """`troubles`: what is none of the status's problems; "" where there is none."""
        for source in status.sources:
            self._hook(source)
        self._tell_wrong((*_wrong(status), *filter(None, troubles)))

    def trouble(self, words: str) -> None:
        self._tell_wrong((words,))

    def _hook(self, source: SourceStatus) -> None:
        """XDP may have to give way to tc, and comes back."""
        had = self._hooks.setdefault(source.name, [])
        if source.hook == UNATTACHED or source.hook in had[-1:]:
            return
        when = " again" if source.hook in had else " now" if had else ""
        why = f": {source.why}" if source.why else ""
        log.info("source %s: %s goes by %s%s%s", source.name, source.interface, source.hook, when, why)
        had[:] = [*(each for each in had if each != source.hook), source.hook]

    def _tell_wrong(self, wrong: tuple[str, ...]) -> None:
        for words in _without(wrong, self._wrong):
            log.warning("%s", words)
        for words in _without(self._wrong, wrong):
            log.info("no longer: %s", words.partition("\n")[0])
        self._wrong = wrong


def _wrong(status: Status) -> Iterator[str]:
    yield from status.problems
    for t_meter in status.t_meters:
        if not t_meter.up:
            yield f"t-meter {t_meter.name}: {t_meter.why}"
        if t_meter.hint and t_meter.hint != t_meter.why:
            yield f"t-meter {t_meter.name}: {t_meter.hint}"


def _without(some: Iterable[str], others: tuple[str, ...]) -> Iterator[str]:
    return (each for each in some if each not in others)


def set_up() -> None:
    """To stderr, from where systemd takes it to the journal."""
    handler = logging.StreamHandler()
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_Levels())
    logging.basicConfig(format="%(message)s", level=logging.INFO, handlers=[handler])


class _Levels(logging.Formatter):
    """With the level in front of each line, as the journal wants it."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"<{_LEVELS.get(record.levelno, 5)}>"
        return level + super().format(record).replace("\n", f"\n{level}")
