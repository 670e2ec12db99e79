"""Reads the configuration file. `python -m collector.control.config` prints the file's JSON Schema."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from collector.control import document as words
from collector.control.conflicts import find_conflicts
from collector.control.document import Document, Place, show
from collector.control.document import Path as Keys
from collector.control.models import MISPLACED, SOURCE_CLASSES, ByMac, Config, Metrics, Telephony, TMeter
from collector.control.values import ADVICE
from collector.errors import InputError

if TYPE_CHECKING:
    from yaml._yaml import Mark as FastMark

__all__ = [
    "BLANK",
    "Config",
    "ConfigFile",
    "digest",
    "load",
    "load_file",
    "load_text",
    "parse",
    "read_file",
    "schema",
]

MOST_BYTES = 1 << 20
MOST_NESTED = 20

# libyaml where PyYAML was built with it; the pure one is the same, but slow.
_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class ConfigFile:
    """A configuration and the places of its keys, for what only the host can find wrong with it."""

    config: Config
    document: Document
    filename: str


def load(path: Path) -> Config:
    return load_file(path).config


def load_file(path: Path) -> ConfigFile:
    return _parse(read_file(path, "with -c FILE"), str(path))


def read_file(path: Path, how: str) -> Document:
    """A YAML file's data, with all that is wrong in it as YAML; `how` the user names this file."""
    content = _content(path, how)
    try:
        return _read(content.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        document = Document()
        place = words.end(content[: error.start].decode())
        document.complain((), "this is not UTF-8 text; save the file as UTF-8", place)
        raise document.error(str(path)) from None


def _content(path: Path, how: str) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file", f"Write it, or name another {how}.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a directory", f"Name the file in it {how}.") from None
    except PermissionError:
        raise InputError(f"{path}: you may not read this file", "Run the command as root.") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", f"Name another file {how}.") from None
    if len(content) > MOST_BYTES:
        raise InputError(f"{path}: the file is larger than 1 MiB", f"Name the configuration {how}.")
    return content


def parse(text: str, filename: str) -> Config:
    """Raises one InputError with a line for every problem found, in the file's order."""
    return load_text(text, filename).config


def load_text(text: str, filename: str) -> ConfigFile:
    return _parse(_read(text.removeprefix("\ufeff")), filename)


def _parse(document: Document, filename: str) -> ConfigFile:
    if not document.problems and document.data in (None, {}):
        document.complain((), "the file is empty; a blank appliance needs no file, or one with 'version: 1'")
    config = None if document.problems and document.data is None else _validate(document)
    if config is None or document.problems:
        raise document.error(filename)
    return ConfigFile(config, document, filename)


BLANK = ConfigFile(Config(), Document(), "")


def digest(config: Config) -> str:
    """Of its meaning: keys that say what is so without them, and those that are to come, change nothing."""
    said = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    canonical = json.dumps(said, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def schema() -> str:
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


def _read(text: str) -> Document:
    document = Document(text=text)
    if found := words.unprintable(text):
        document.complain((), *found)
        return document
    try:
        _Reader(document, text).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
        said, at_start = words.syntax("tab character" if tab else error.problem or "")
        document.complain((), said, _place(error.context_mark if at_start and error.context_mark else mark))
    return document


def _place(mark: yaml.Mark | FastMark | None) -> Place:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _Reader:
    """Builds plain data from the parser's events; what it refuses becomes None, with a complaint."""

    def __init__(self, document: Document, text: str) -> None:
        self.document = document
        self.events = yaml.parse(text, Loader=_LOADER)

    def read(self) -> None:
        next(self.events)
        if isinstance(next(self.events), yaml.StreamEndEvent):
            return
        self.document.data = self._value(next(self.events), ())
        next(self.events)
        after = next(self.events)
        if not isinstance(after, yaml.StreamEndEvent):
            place = _place(after.start_mark)
            self.document.complain((), "a second document begins here; write one configuration only", place)

    def _value(self, event: yaml.Event, path: Keys) -> object:
        self.document.values[path] = _place(event.start_mark)
        try:
            _accept(event, len(path))
            if isinstance(event, yaml.ScalarEvent):
                return _scalar(event)
        except ValueError as refusal:
            self._refuse(event, path, str(refusal))
            return None
        return self._map(path) if isinstance(event, yaml.MappingStartEvent) else self._list(path)

    def _list(self, path: Keys) -> list[object]:
        found: list[object] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*path, len(found))))
        return found

    def _map(self, path: Keys) -> dict[str | int, object]:
        found: dict[str | int, object] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event, path)
            value = next(self.events)
            if key is None:
                self._skip(value)
                continue
            self.document.keys[(*path, key)] = _place(event.start_mark)
            found[key] = self._value(value, (*path, key))
        return found

    def _key(self, event: yaml.Event, path: Keys) -> str | int | None:
        try:
            _accept(event, len(path))
            key = _scalar(event)
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise ValueError("a key must be a word or a whole number; put it in quotes")
            if first := self.document.keys.get((*path, key)):
                path = (*path, key)
                raise ValueError(f"is given twice, first on line {first[0]}; remove one of the two")
        except ValueError as refusal:
            self._refuse(event, path, str(refusal))
            return None
        return key

    def _refuse(self, event: yaml.Event, path: Keys, why: str) -> None:
        self.document.complain(path, why, _place(event.start_mark))
        self._skip(event)

    def _skip(self, event: yaml.Event) -> None:
        depth = int(isinstance(event, yaml.CollectionStartEvent))
        while depth:
            event = next(self.events)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)


def _accept(event: yaml.Event, depth: int) -> None:
    """Aliases can blow up a small file, and hide from a reader what a source is: nobody here needs them."""
    if isinstance(event, yaml.AliasEvent) or (isinstance(event, yaml.NodeEvent) and event.anchor):
        raise ValueError("anchors (&) and aliases (*) are not supported; write the value out")
    if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        raise ValueError(f"the tag {show(tag)} is not supported; remove it")
    if depth > MOST_NESTED:
        raise ValueError(f"this is more than {MOST_NESTED} levels deep; no key needs that: remove it")


def _scalar(event: yaml.Event) -> object:
    if not isinstance(event, yaml.ScalarEvent):
        raise ValueError("a list or a map cannot be a key; use a word")
    if found := words.unprintable(event.value):  # by an escape in double quotes
        raise ValueError(found[0])
    return words.plain(event.value) if event.implicit[0] else event.value


def _validate(document: Document) -> Config | None:
    config = None
    try:
        config = Config.model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            _complain(document, found)
    if document.data and isinstance(document.data, dict) and "version" not in document.data:
        document.complain(("version",), "is missing; write 'version: 1' in the first line")
    find_conflicts(document)
    return config


def _complain(document: Document, error: ErrorDetails) -> None:
    path = error["loc"]
    if path[:1] == ("sources",):
        path = path[:2] + path[3:]  # the third names the class of the source
    if error["type"].startswith("union_tag"):
        return document.complain((*path, "type"), _about_type(error["input"].get("type")))
    at_key = error["type"] in words.KEY_WORDS or path[-1:] == ("[key]",)
    path = path[:-1] if path[-1:] == ("[key]",) else path
    said = _about_misplaced(document, path) if error["type"] == "extra_forbidden" else ""
    said = said or words.explain(error, _known(document, path), ADVICE)
    return document.complain(path, said, document.keys.get(path) if at_key else None)


def _about_misplaced(document: Document, path: Keys) -> str:
    match path:
        case ("sources", int(index), str(key)) if key in MISPLACED:
            source = cast(dict[str, str], document.items("sources")[index])
            return f"{MISPLACED[key].format(source['type'])}; remove it"
    return ""


def _about_type(name: object) -> str:
    known = list(SOURCE_CLASSES)
    if name is None:
        return f"is missing; {words.suggest('', known)}"
    return f"{show(name)} is not known; {words.suggest(name, known)}"


def _known(document: Document, path: Keys) -> list[str]:
    """The keys that can stand where this one does."""
    model: type[BaseModel] = Config
    match path:
        case ("sources", _, "interface", _):
            model = ByMac
        case ("sources", int(index), _):
            source = cast(dict[str, str], document.items("sources")[index])
            model = SOURCE_CLASSES[source["type"]]
        case ("t_meters", _, _):
            model = TMeter
        case ("metrics", _):
            model = Metrics
        case ("telephony", _):
            model = Telephony
    return [str(field.validation_alias or name) for name, field in model.model_fields.items()]


if __name__ == "__main__":
    sys.stdout.write(schema())
