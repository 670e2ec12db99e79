"""One process at a time changes this host; who reads waits until nobody does."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from collector.datapath import program
from collector.errors import HostError

PATIENCE = 10.0  # seconds
READERS_PATIENCE = 3.0
_POLL = 0.05


class BusyError(HostError):
    """Another process changes this host."""


@contextmanager
def alone(patience: float = PATIENCE) -> Iterator[None]:
    """BusyError when another process goes on changing this host for longer than `patience` seconds."""
    folder = os.open(program.BPFFS, os.O_RDONLY)
    try:
        if not _locked(folder, fcntl.LOCK_EX, patience):
            raise BusyError("another collector command is at work", "Wait for it to end, then try again.")
        yield
    finally:
        os.close(folder)


@contextmanager
def unchanged(patience: float = READERS_PATIENCE) -> Iterator[None]:
    """What is read inside is not read in the middle of a change, unless that takes longer than `patience`."""
    folder = os.open(program.BPFFS, os.O_RDONLY)
    try:
        _locked(folder, fcntl.LOCK_SH, patience)
        yield
    finally:
        os.close(folder)


def _locked(folder: int, kind: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(folder, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        else:
            return True
