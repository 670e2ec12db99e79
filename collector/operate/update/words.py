"""Why an update was refused or failed: RAUC's messages, in words that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable

from collector.errors import CollectorError, HostError, InputError

_AGAIN = "Fetch it again, then compare: sha256sum --check --ignore-missing SHA256SUMS"
_SIGNED = """Take it from where that version came from. An image with a DEVELOPMENT key
  takes only updates that were built with the same key."""
_FETCH = """Is the address right, is the server reached from here, and does it answer
  range requests? Or fetch the file by other means, and name the file instead."""
_UNCHANGED = "What runs is unchanged."

# The first that is found in RAUC's message counts. {0} is the bundle, {1} and {2} what the pattern found.
_REASONS: tuple[tuple[str, Callable[[str, str], CollectorError], str, str], ...] = (
    ("signature verification failed|Failed to verify", InputError,
     "{0} is not signed by the makers of the version that runs here",
     _SIGNED),
    ("Compatible mismatch: Expected '(.*)' but bundle manifest has '(.*)'", InputError,
     "{0} is for another product: for {2}, and this is {1}", "Take the file for this one."),
    ("Version mismatch: Expected at least '(.*)' but bundle manifest has (?:'(.*)'|no version)", InputError,
     "{0} is version {2}, and what runs here can only be replaced by {1} or newer",
     "To go back to the version before: collector update rollback"),
    ("not a regular file|Invalid bundle|Signature size|ize .*too small|not a multiple|no valid", InputError,
     "{0} is no update bundle, or a part of it is missing", _AGAIN),
    ("payload is corrupted|Failed to copy data|Input/output error", HostError,
     "{0} cannot be read to its end, or the disk cannot be written", _AGAIN),
    ("too small for image", HostError, "{0} is larger than the place for it on the disk",
     "Install this version anew from its ISO or disk image."),
    ("No space left", HostError, "the data partition is full", "See: sudo du -xh /var | sort -h"),
    ("Already processing", HostError, "another update is being installed",
     "Wait for it. How far it is: collector update status"),
    ("not found: |HTTP returned|unauthorized", HostError, "the server does not give out {0}",
     "Is the address right? Try it in a browser."),
    ("streaming|Transfer failed|remote server|download", HostError, "{0} cannot be fetched",
     _FETCH),
    ("Post-install handler", HostError, "the disk does not give back what was written to it",
     "It wears out, or its cable is loose: replace it soon."),
)  # fmt: skip


def refusal(said: str, bundle: str) -> CollectorError:
    for pattern, kind, what, hint in _REASONS:
        found = re.search(pattern, said)
        if found:
            return kind(f"{what.format(bundle, *_two(found))}. {_UNCHANGED}", hint)
    return HostError(
        f"{bundle} was not installed: {said or 'RAUC does not answer'}. {_UNCHANGED}",
        "RAUC's own log: sudo journalctl -u rauc -n 30",
    )


def _two(found: re.Match[str]) -> tuple[str, str]:
    first, second = (*found.groups("unknown"), "", "")[:2]
    return first, second
