"""Everything of a machine that the collector may touch, as tools that are not ours tell it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import run
from typing import Any

from collector.operate.lab import BPFFS, Namespace, wait_for

Snapshot = dict[str, Any]  # from a name for one fact, such as "feature eth1 rx-gro", to the fact

_SYSCTLS = ("net/ipv4/conf", "net/ipv6/conf", "net/ipv4/ip_forward")
# They change by themselves: with time, or with traffic.
_FLEETING = {
    "operstate",
    "state",
    "lladdr",
    "valid_life_time",
    "preferred_life_time",
    "tentative",
    "dadfailed",
}


def take(machine: Namespace, instance: str) -> Snapshot:
    """Links, offloads, queueing disciplines, filters, neighbours, sysctls, and the instance's pins."""
    return dict(_facts(machine, BPFFS / "collector" / instance))


def changed(before: Snapshot, after: Snapshot) -> Snapshot:
    """The facts that differ, each with both values; None where it is not there."""
    keys = [*before, *(key for key in after if key not in before)]
    differing = [key for key in keys if before.get(key) != after.get(key)]
    return {key: _difference(before.get(key), after.get(key)) for key in differing}


def _difference(before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        return changed(before, after)
    return before, after


def await_same(before: Snapshot, machine: Namespace, instance: str) -> None:
    """The kernel detaches, frees and makes addresses a little after it was told to."""
    differences: list[Snapshot] = []

    def same() -> bool:
        differences[:] = [changed(before, take(machine, instance))]
        return not differences[0]

    try:
        wait_for(same, "everything to be as before", timeout=3)
    finally:
        assert differences[0] == {}, differences[0]


def _facts(machine: Namespace, folder: Path) -> Iterator[tuple[str, Any]]:
    for link in _json(machine, "ip", "-d", "-j", "addr"):
        yield f"link {link['ifname']}", _lasting(link)
        yield from _features(machine, link["ifname"])
        yield from _filters(machine, link["ifname"])
    for qdisc in _json(machine, "tc", "-j", "qdisc"):
        yield f"qdisc {qdisc['dev']} {qdisc['kind']} {qdisc['handle']}", _lasting(qdisc)
    for neighbour in _json(machine, "ip", "-j", "neigh"):
        yield f"neighbour {neighbour['dev']} {neighbour['dst']}", _lasting(neighbour)
    with machine.enter():
        yield from _sysctls()
    yield from pins(folder).items()


def _lasting(fact: Any) -> Any:
    if isinstance(fact, Mapping):
        return {key: _lasting(value) for key, value in fact.items() if key not in _FLEETING}
    return [_lasting(each) for each in fact if each != "NO-CARRIER"] if isinstance(fact, list) else fact


def _features(machine: Namespace, ifname: str) -> Iterator[tuple[str, Any]]:
    for line in machine.run(["ethtool", "-k", ifname]).stdout.splitlines()[1:]:
        name, _, value = line.strip().partition(": ")
        yield f"feature {ifname} {name}", value


def _filters(machine: Namespace, ifname: str) -> Iterator[tuple[str, Any]]:
    for direction in ("ingress", "egress"):
        shown = machine.run(["tc", "filter", "show", "dev", ifname, direction], check=False).stdout
        if shown.strip():
            yield f"filter {ifname} {direction}", shown


def _sysctls() -> Iterator[tuple[str, Any]]:
    for top in _SYSCTLS:
        path = Path("/proc/sys") / top
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.name != "stable_secret":  # cannot be read before it is written
                yield f"sysctl {file.relative_to('/proc/sys')}", file.read_text().strip()


def pins(folder: Path) -> Snapshot:
    """What the instance has pinned: for a link its program, for a map its id, and the notes in full."""
    if not folder.exists():
        return {}
    found: Snapshot = {f"folder {folder.name}": sorted(path.name for path in folder.iterdir())}
    for path in sorted(folder.iterdir()):
        kind, fact = _pinned(path)
        found[f"{kind} {path.name}"] = fact
    return found


def link_ids(folder: Path) -> dict[str, int]:
    links = {path.name: bpftool("link", "show", "pinned", str(path)) for path in folder.iterdir()}
    return {name: fact["id"] for name, fact in links.items() if "id" in fact}


def _pinned(path: Path) -> tuple[str, Any]:
    if path.name == "notes":
        (cell,) = bpftool("map", "dump", "pinned", str(path))
        raw = bytes(int(octet, 16) for octet in cell["value"])
        notes = json.loads(raw.rstrip(b"\0") or b"{}")
        notes.pop("failed", None)
        notes.pop("failures", None)
        return "notes", notes
    for kind, key in (("link", "prog_id"), ("prog", "id"), ("map", "id")):
        fact = bpftool(kind, "show", "pinned", str(path))
        if "error" not in fact:
            return kind, (fact.get("type"), fact[key], fact.get("devname"))
    raise AssertionError(f"bpftool does not know what {path} is")


def bpf_objects(folder: Path) -> set[tuple[str, int]]:
    """Every program and map that lives through the instance's pins, as ("prog", 17)."""
    programs, maps = set(), set()
    for path in folder.iterdir():
        kind, fact = _pinned(path)
        if kind in ("link", "prog"):
            programs.add(fact[1])
        elif kind == "map":
            maps.add(fact[1])
    for number in programs:
        maps |= set(bpftool("prog", "show", "id", str(number)).get("map_ids", ()))
    return {("prog", number) for number in programs} | {("map", number) for number in maps}


def still_there(objects: set[tuple[str, int]]) -> set[tuple[str, int]]:
    return {(kind, number) for kind, number in objects if "id" in bpftool(kind, "show", "id", str(number))}


def bpftool(*arguments: str) -> Any:
    """Its JSON; {"error": ...} where it refuses."""
    done = run(["bpftool", "-j", *arguments], check=False, text=True, capture_output=True)
    return json.loads(done.stdout or done.stderr or "{}")


def _json(machine: Namespace, *argv: str) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(machine.run(argv).stdout or "[]")
    return shown
