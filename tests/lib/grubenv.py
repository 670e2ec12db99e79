"""What GRUB knows of the slots, as it lies on the disk."""

from __future__ import annotations

SIZE = 1024
SIGNATURE = b"# GRUB Environment Block\n"
FRESH = {"PRIMARY": "A", "A_OK": "1", "A_TRY": "0", "A_GOOD": "1", "B_OK": "0", "B_TRY": "0", "B_GOOD": "0"}
INSTALLED = FRESH | {"PRIMARY": "B", "B_OK": "1"}
FAILED = INSTALLED | {"B_TRY": "3"}
UPDATED = INSTALLED | {"B_GOOD": "1"}


def block(values: dict[str, str]) -> bytes:
    text = SIGNATURE + "".join(f"{name}={value}\n" for name, value in values.items()).encode()
    return text.ljust(SIZE, b"#")


def values(found: bytes) -> dict[str, str] | None:
    """As GRUB reads it: by its signature alone."""
    if not found.startswith(SIGNATURE) or len(found) != SIZE:
        return None
    lines = found.decode(errors="replace").rstrip("#").splitlines()[1:]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}
