"""What a person sees of an update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from collector.errors import HostError
from collector.operate.update.appliance import Slot, Slots
from collector.options import print_json


@contextmanager
def progress() -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; elsewhere nothing."""
    with click.progressbar(length=100, label="Installing", width=40, show_eta=False) as bar:
        yield lambda percent: bar.update(max(0, percent - bar.pos))


def require_good(slot: Slot) -> None:
    if slot.state == "empty":
        raise HostError("there is no other version to go back to")
    if slot.state != "good":
        raise HostError(
            f"version {slot.version} was never found good here",
            "Install a version that is: collector update FILE",
        )


def print_slots(slots: Slots, fallback: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(slots), "fallback": fallback})
    else:
        click.echo("\n".join(_lines(slots, fallback)))


def _lines(slots: Slots, fallback: str) -> Iterator[str]:
    running = slots.running
    trial = ", and is being checked" if running.state == "new" else ""
    yield f"version {running.version} runs, from slot {running.name}{trial}"
    yield _other(slots, fallback)
    if fallback:
        yield f"  ! {fallback}"
        yield "    To stay with this version: collector update rollback"
    if slots.installing:
        yield "  * an update is being installed"
    if slots.development:
        yield "  * it takes updates that are signed by a DEVELOPMENT key: not for production"


def _other(slots: Slots, fallback: str) -> str:
    other, words = slots.other, f"version {slots.other.version} is in slot {slots.other.name}"
    if other.state == "empty":
        return f"slot {other.name} is free"
    if other.state == "failed":
        return f"{words}; it did not start, and is not tried again"
    if slots.chosen == other.name:
        return f"{words}, and {'is tried again' if fallback else 'starts'} at the next restart"
    if other.state == "new":
        return f"{words}; it was never started"
    return f"{words}; to go back to it: collector update rollback"
