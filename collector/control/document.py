"""A YAML document as plain data that knows where each value stands, and the words for what is wrong in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from collector.errors import InputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]
Place = tuple[int, int]  # line and column, both from 1

Context = Mapping[str, Any]  # the details that pydantic gives with an error

MOST_SHOWN = 20


@dataclass
class Document:
    data: object = None
    text: str = ""  # as it was read
    keys: dict[Path, Place] = field(default_factory=dict)
    values: dict[Path, Place] = field(default_factory=lambda: {(): (1, 1)})
    problems: dict[tuple[Place, Path], str] = field(default_factory=dict)

    def items(self, key: str) -> list[object]:
        found = self.data.get(key) if isinstance(self.data, dict) else None
        return found if isinstance(found, list) else []

    def line(self, path: Path) -> int:
        return self.place(path)[0]

    def place(self, path: Path) -> Place:
        """Of the value; of what should hold it, where it is missing."""
        while path not in self.values:
            path = path[:-1]
        return self.values[path]

    def complain(self, path: Path, words: str, place: Place | None = None) -> None:
        """A place has one complaint, the first: what is found wrong there later is its consequence."""
        self.problems.setdefault((place or self.place(path), path), words)

    def error(self, filename: str) -> InputError:
        found = sorted(self.problems.items(), key=lambda problem: problem[0][0])
        lines = [
            f"{filename}:{line}:{column}: {label(path) + ': ' if path else ''}{words}"
            for ((line, column), path), words in found[:MOST_SHOWN]
        ]
        hidden = len(found) - len(lines)
        hint = f"and {hidden} more: mend these first, then check again" if hidden else ""
        return InputError("\n".join(lines), hint)


def label(path: Path) -> str:
    """`sources[0].vni`, `sources[1].vni[17]`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{_bare(part)}"
    return text.removeprefix(".")


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[\w-]{1,40}", key) else show(key)


def show(value: object) -> str:
    """A value as a message quotes it: short, and with nothing in it that could upset a terminal."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 48 else f"{text[:42]}...{text[-1]}"


def suggest(value: object, known: Sequence[str]) -> str:
    close = get_close_matches(value[:40].lower(), known, n=1, cutoff=0.5) if isinstance(value, str) else ()
    return f"did you mean '{close[0]}'?" if close else f"use {_one_of(known)}"


def _one_of(known: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in known]
    return " or ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)


def explain(error: ErrorDetails, known: Sequence[str], patterns: Mapping[str, str]) -> str:
    """What a validation error means, and what to do.

    `known` are the keys that could stand where the error is; `patterns` says what each pattern asks for.
    """
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in KEY_WORDS:
        return KEY_WORDS[kind](error["loc"][-1], known)
    if value is None:
        return "has no value; write one"
    if kind == "string_pattern_mismatch":
        return f"{show(value)} does not fit; {patterns[context['pattern']]}"
    return VALUE_WORDS[kind](value, context)


def _unknown_key(key: object, known: Sequence[str]) -> str:
    close = get_close_matches(str(key)[:40].lower(), known, n=1)
    advice = f"did you mean '{close[0]}'?" if close else f"the keys here are {', '.join(known)}"
    return f"unknown key; {advice}"


def _text(value: object, _: Context) -> str:
    advice = "write a single text" if isinstance(value, dict | list) else "put it in quotes"
    return f"{show(value)} is not text; {advice}"


def _number(value: object, _: Context) -> str:
    quoted = isinstance(value, str) and value.isdecimal()
    return f"{show(value)} is not a whole number; " + ("remove the quotes" if quoted else "write digits only")


def _choice(value: object, context: Context) -> str:
    known = re.findall("'([^']*)'", context["expected"])
    return f"{show(value)} is not known; {suggest(value, known)}"


def _map(value: object, _: Context) -> str:
    return f"{show(value)} cannot stand here; write 'key: value' lines"


def _list(value: object, _: Context) -> str:
    advice = "begin each entry with '- '" if isinstance(value, dict) else "put it in brackets: [ ]"
    return f"{show(value)} is not a list; {advice}"


def _too_many(_: object, context: Context) -> str:
    return f"{context['actual_length']} are too many; use at most {context['max_length']}"


KEY_WORDS: dict[str, Callable[[object, Sequence[str]], str]] = {
    "extra_forbidden": _unknown_key,
    "invalid_key": _unknown_key,
    "missing": lambda _key, _known: "is missing; add it",
}

VALUE_WORDS: dict[str, Callable[[object, Context], str]] = {
    "bool_type": lambda value, _: f"{show(value)} is neither true nor false; write true or false",
    "greater_than_equal": lambda value, context: f"{show(value)} is too small; use at least {context['ge']}",
    "int_type": _number,
    "less_than_equal": lambda value, context: f"{show(value)} is too large; use at most {context['le']}",
    "literal_error": _choice,
    "model_attributes_type": _map,
    "model_type": _map,
    "string_type": _text,
    "too_long": _too_many,
    "tuple_type": _list,
    "value_error": lambda _, context: str(context["error"]),
}

_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_SWITCH = re.compile(r"(?i)yes|no|on|off")
# YAML 1.1 has octal, grouped and base 60 numbers, which YAML 1.2, editors and people read otherwise.
_ODD_NUMBER = re.compile(
    r"[-+]?(0[0-9_]+|0[xob][0-9a-fA-F_]+|[0-9][0-9_]*|[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)"
)


def plain(text: str) -> object:
    """The value of a scalar that stands without quotes; ValueError where programs would disagree about it."""
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SWITCH.fullmatch(text):
        raise ValueError(
            f"{show(text)} is true or false to some programs; write true or false, or put text in quotes"
        )
    if _ODD_NUMBER.fullmatch(text):
        raise ValueError(
            f"{show(text)} is not a plain number; leave out leading zeros, or put text in quotes"
        )
    return text


# What the YAML parser may say, what it means, and whether the mistake is where the parser began to look.
_SYNTAX = (
    ("tab character", "a tab stands where only spaces may; indent with spaces", False),
    (
        "mapping values",
        "a ':' stands where none can; check the indentation, and put text with ': ' in quotes",
        False,
    ),
    ("expected ':'", "a ':' is missing after this key; write 'key: value'", True),
    ("',' or ']'", "a ',' or the closing ']' of this list is missing; add it", True),
    ("',' or '}'", "a ',' or the closing '}' of this map is missing; add it", True),
    ("end of stream", "the closing quote of this text is missing; add it", True),
    ("escape", "a '\\' in double quotes begins a special character; use single quotes", False),
    ("cannot start", "this character cannot begin a value; put the value in quotes", False),
    ("", "this does not fit the lines above; check indentation, quotes and brackets", False),
)


def syntax(problem: str) -> tuple[str, bool]:
    return next((words, at_start) for part, words, at_start in _SYNTAX if part in problem)


# YAML 1.2, production 1 (c-printable).
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def unprintable(text: str) -> tuple[str, Place] | None:
    found = _UNPRINTABLE.search(text)
    if not found:
        return None
    return f"the character U+{ord(found[0]):04X} cannot stand here; remove it", end(text[: found.start()])


def end(text: str) -> Place:
    return text.count("\n") + 1, len(text) - text.rfind("\n")
