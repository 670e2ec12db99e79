"""Writes the configuration as a person would: short, commented, one key a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from collector.control.document import plain

_COLUMN = 29  # of the comments
_SECTIONS = {
    "sources": "Where the copies of the phone system's traffic arrive",
    "t_meters": "Where they are sent, each frame wrapped in VXLAN",
    "telephony": "The phone system's ports",
    "metrics": "Where Prometheus reads",
}
_TYPES = {
    "span": "a mirror port: all that arrives is a copy",
    "vxlan": "the copies come wrapped in VXLAN",
    "geneve": "the copies come wrapped in GENEVE",
    "erspan": "the copies come by ERSPAN",
    "gre": "the copies come wrapped in GRE",
    "tzsp": "the copies come by TZSP",
    "ipip": "the copies come wrapped in IP",
}
_KEYS = {
    "shared": "the NIC carries this machine's own traffic too",
    "from": "who may send them",
    "probe": "how its health is tested",
}
_ORDER = ("name", "type", "interface", "address", "shared", "port", "from", "vni", "probe")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_INLINE = 60


def write(data: Mapping[str, Any]) -> str:
    """`data`: the file's plain data. Every key stays; comments are ours."""
    lines = ["# Written by collector setup. All keys are in the manual, page Configuration.", "version: 1"]
    for key in [each for each in _SECTIONS if each in data] + [
        each for each in data if each not in _SECTIONS
    ]:
        if key != "version":
            lines += ["", *([f"# {_SECTIONS[key]}"] if key in _SECTIONS else []), *_entry(key, data[key], 0)]
    return "\n".join(lines) + "\n"


def _entry(key: str | int, value: object, depth: int) -> Iterator[str]:
    indent, name = "  " * depth, _scalar(key)
    if isinstance(value, list) and value and all(isinstance(each, dict) and each for each in value):
        yield f"{indent}{name}:"
        for each in value:
            yield from _item(each, depth + 1)
    elif isinstance(value, dict) and value and len(_flow(value)) > _INLINE:
        yield f"{indent}{name}:"
        for inner, content in value.items():
            yield from _entry(inner, content, depth + 1)
    else:
        yield f"{indent}{name}: {_flow(value)}"


def _item(item: Mapping[str, Any], depth: int) -> Iterator[str]:
    keys = sorted(item, key=lambda key: _ORDER.index(key) if key in _ORDER else len(_ORDER))
    lines = [line for key in keys for line in _commented(key, item[key], depth + 1)]
    lines[0] = f"{'  ' * depth}- {lines[0].lstrip()}"
    yield from lines


def _commented(key: str, value: object, depth: int) -> Iterator[str]:
    words = _TYPES.get(str(value), "") if key == "type" else _KEYS.get(key, "")
    first, *rest = _entry(key, value, depth)
    fits = words and len(first) < _COLUMN
    yield f"{first:<{_COLUMN}}# {words}" if fits else first
    yield from rest


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if value is None or isinstance(value, bool | int | float) or not _reads_as_itself(str(value)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _reads_as_itself(text: str) -> bool:
    """Without quotes it is the same text to every program."""
    try:
        return bool(_PLAIN.fullmatch(text)) and plain(text) == text
    except ValueError:
        return False
