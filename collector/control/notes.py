"""What cannot be read back from the kernel, kept in pinned maps beside the program: no file, no process.

`notes` is for apply and remove, `configuration` the text that runs, `former` the one before it while an
apply waits for its confirmation, `agent` what the agent last saw.
"""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from collector.datapath import libbpf, maps, program
from collector.datapath.tmeter import Neighbour

PINS = ("notes", "configuration", "former", "agent")
_NOTES_SIZE = 65536


@dataclass(frozen=True, order=True)
class Tuning:
    """A setting of an interface: `up`, `promiscuous`, an offload, or a key of net.FAMILY.conf.NIC."""

    ifindex: int
    kind: str  # "flag", "feature" or "sysctl"
    name: str


@dataclass(frozen=True)
class Refusal:
    """Why an interface takes no native XDP, or as egress no redirected frames; true for one MTU."""

    ifindex: int
    role: str  # "source" or "egress"
    mtu: int
    words: str


@dataclass(frozen=True)
class Known:
    """A source of the configuration that runs, also while its interface is not there."""

    name: str
    slot: int
    type: str
    interface: str  # as the file names it
    ifindex: int  # the last that it had; 0 before the first


@dataclass(frozen=True)
class Pending:
    """An apply that is taken back at `deadline` (seconds of CLOCK_BOOTTIME) unless it is confirmed."""

    deadline: float
    token: str
    digest: str = ""  # of the configuration that is tried
    t_meter: str = ""  # the address that the one before it sent to
    complete: bool = False  # the apply came to its end


@dataclass(frozen=True)
class Notes:
    """`origins`: what the tunings were before us, for `remove`; `tuned`: what they are to be now."""

    netns: int = 0
    digest: str = ""  # of the configuration that runs
    build: str = ""
    sources: tuple[Known, ...] = ()
    origins: Mapping[Tuning, str] = field(default_factory=dict)
    tuned: Mapping[Tuning, str] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    neighbour: Neighbour | None = None
    pending: Pending | None = None
    unconfirmed: str = ""  # digest of the configuration that was taken back
    failed: bool = False  # the last apply
    applies: int = 0
    failures: int = 0
    repairs: int = 0  # of what somebody else took away or changed


def instance_folder(instance: str) -> Path:
    return program.BPFFS / "collector" / instance


def read_notes(folder: Path) -> Notes:
    raw: dict[str, Any] = json.loads(read_text(folder, "notes") or "{}")
    neighbour, pending = raw.pop("neighbour", None), raw.pop("pending", None)
    return Notes(
        sources=tuple(Known(*each) for each in raw.pop("sources", [])),
        origins=_tunings(raw.pop("origins", [])),
        tuned=_tunings(raw.pop("tuned", [])),
        refusals=tuple(Refusal(*each) for each in raw.pop("refusals", [])),
        neighbour=Neighbour(neighbour[0], ip_address(neighbour[1])) if neighbour else None,
        pending=Pending(*pending) if pending else None,
        **{key: value for key, value in raw.items() if key in Notes.__dataclass_fields__},
    )


def _tunings(raw: list[Any]) -> dict[Tuning, str]:
    return {Tuning(*key): value for key, value in raw}


def write_notes(folder: Path, notes: Notes) -> None:
    neighbour = notes.neighbour
    raw = {
        **vars(notes),
        "sources": [astuple(each) for each in notes.sources],
        "origins": [[astuple(key), value] for key, value in notes.origins.items()],
        "tuned": [[astuple(key), value] for key, value in notes.tuned.items()],
        "refusals": [astuple(each) for each in notes.refusals],
        "neighbour": [neighbour.ifindex, str(neighbour.address)] if neighbour else None,
        "pending": astuple(notes.pending) if notes.pending else None,
    }
    write_text(folder, "notes", json.dumps(raw), _NOTES_SIZE)


def change_notes(folder: Path, **changes: Any) -> None:
    """Nothing where no instance runs."""
    if (folder / "notes").exists():
        write_notes(folder, replace(read_notes(folder), **changes))


def read_text(folder: Path, name: str) -> str | None:
    fd = libbpf.pinned(folder / name) if folder.exists() else None
    return maps.lookup(fd, bytes(4))[0].rstrip(b"\0").decode() if fd else None


def write_text(folder: Path, name: str, text: str, size: int = 0) -> None:
    """`size`: bytes of a map that is written again and again; without it, each text gets a new one."""
    content = text.encode()
    fd = libbpf.pinned(folder / name) if size else None
    if fd is None:
        fd = maps.create_array(name, size or max(len(content), 1))
        maps.update(fd, bytes(4), content.ljust(size or 1, b"\0"))
        libbpf.pin(fd, folder / name)
    else:
        maps.update(fd, bytes(4), content.ljust(size, b"\0"))


def forget_text(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)


def remove_folder(folder: Path, netns: int = 0) -> None:
    """With the pins go the maps, and whatever links are still there. Where something may have to be taken
    back, what that takes is kept, for `netns`."""
    pending = read_notes(folder).pending if netns else None
    if pending:
        for path in folder.iterdir():
            if path.name not in ("notes", "former", "agent"):
                path.unlink()
        write_notes(folder, Notes(netns=netns, pending=pending))
        return
    if folder.exists():
        shutil.rmtree(folder)
    try:
        folder.parent.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):  # another instance is there
            raise
