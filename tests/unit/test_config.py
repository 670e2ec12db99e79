"""Does this file become the right configuration, or exactly the right error?"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from collector.control import config as reading
from collector.control import document as words
from collector.control.config import (
    ByMac,
    Config,
    Metrics,
    SpanSource,
    TMeter,
    VniMap,
    VxlanSource,
    digest,
    load,
    parse,
    schema,
)
from collector.errors import InputError

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs/configuration.md").read_text()
CASES = Path(__file__).with_name("wrong_configurations.txt")
SCHEMA = ROOT / "collector/control/collector.schema.json"

VALID = """\
version: 1
sources:
  - name: pbx
    type: span
    interface: eth1
  - name: aws
    type: vxlan
    interface: eth0
    from: [10.0.0.0/16, 192.0.2.7]
    vni: {18: 102, 17: 101, default: 12}
t_meters:
  - name: ohio
    address: 203.0.113.10
"""


def complaints(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, "f")
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_every_key() -> None:
    assert parse(VALID, "f") == Config(
        version=1,
        sources=(
            SpanSource(
                name="pbx", type="span", interface="eth1", vni=12, hook="auto", shared=False, vlan="keep"
            ),
            VxlanSource(
                name="aws",
                type="vxlan",
                interface="eth0",
                port=4789,
                from_=(IPv4Network("10.0.0.0/16"), IPv4Network("192.0.2.7/32")),
                vni=VniMap(entries=((17, 101), (18, 102)), default=12),
                hook="auto",
                vlan="keep",
            ),
        ),
        t_meters=(
            TMeter(
                name="ohio", address=IPv4Address("203.0.113.10"), port=4789, oversize="fragment", probe="icmp"
            ),
        ),
        metrics=Metrics(listen="127.0.0.1:9747"),
    )


def test_the_slow_parser_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = parse(VALID, "f")
    monkeypatch.setattr(reading, "_LOADER", yaml.SafeLoader)
    assert parse(VALID, "f") == fast
    assert complaints("version: [1\n") == "f:1:10: a ',' or the closing ']' of this list is missing; add it"


def test_blank() -> None:
    assert parse("version: 1", "f") == Config()
    assert parse("\ufeffversion: 1\r\n", "f") == Config()


@pytest.mark.parametrize(
    ("written", "read"),
    [("keep", "keep"), ("0", 0), ("16777215", 16777215), ("{default: 3}", VniMap(entries=(), default=3))],
)
def test_vni_choices(written: str, read: object) -> None:
    text = VALID.replace("{18: 102, 17: 101, default: 12}", written)
    source = parse(text, "f").sources[1]
    assert source.vni == read


@pytest.mark.parametrize("written", ["00:15:5D:aB:02:03", '"00-15-5D-AB-02-03"'])
def test_interface_by_mac(written: str) -> None:
    source = parse(VALID.replace("eth1", f"{{mac: {written}}}"), "f").sources[0]
    assert source.interface == ByMac(mac="00:15:5d:ab:02:03")


@pytest.mark.parametrize(
    ("listen", "endpoint"),
    [
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:9747", ("::1", 9747)),
        ("192.0.2.1:65535", ("192.0.2.1", 65535)),
    ],
)
def test_listen(listen: str, endpoint: tuple[str, int]) -> None:
    assert parse(f"version: 1\nmetrics: {{listen: '{listen}'}}", "f").metrics.endpoint == endpoint


def test_vxlan_sources_may_share_a_port_when_their_senders_differ() -> None:
    more = VALID.replace(
        "t_meters:",
        "  - {name: b, type: vxlan, interface: eth0, from: [10.1.0.0/16]}\n"
        "  - {name: c, type: vxlan, interface: eth0, port: 4790}\nt_meters:",
    )
    assert len(parse(more, "f").sources) == 4


def test_digest_is_of_the_meaning() -> None:
    same = VALID.replace("interface: eth1", "interface: eth1\n    vni: 12  # the default")
    same = same.replace("18: 102, 17: 101", "17: 101, 18: 102")
    assert digest(parse(VALID, "f")) == digest(parse(same, "g")) == "72fce9ab7d98"
    assert digest(parse(VALID.replace("eth1", "eth2"), "f")) != digest(parse(VALID, "f"))
    assert digest(Config()) == "10f5d1e7533a"


def cases() -> Iterator[tuple[str, str]]:
    """From each block of the file of cases: a configuration, and what is said about it.

    A block is `right => wrong`, a replacement in VALID, or `=> text`, a whole file, with Python's escapes;
    then the lines expected. What is indented further goes on from the line before.
    """
    for block in CASES.read_text().strip("\n").split("\n\n"):
        head, said = block.split("\n", 1)
        right, wrong = (
            part.encode().decode("unicode_escape") for part in re.split(" ?=> ?", head, maxsplit=1)
        )
        lines = said.replace("\n    ", " ").splitlines()
        text = VALID.replace(right, wrong, 1) if right else wrong
        yield text, "\n".join(line.replace("  ", "f:", 1) for line in lines)


NUMBER_ADVICE = "leave out leading zeros, or put text in quotes"
BULKY = [
    (
        VALID.replace("eth1", f"eth1\n    vni: {'9' * 5000}"),
        f"f:6:10: sources[0].vni: '{'9' * 41}...' is not a plain number; {NUMBER_ADVICE}",
    ),
    (
        VALID.replace("192.0.2.7", ", ".join(["192.0.2.7"] * 64)),
        "f:9:11: sources[1].from: 65 are too many; use at most 64",
    ),
    (
        VALID.replace("default: 12", ", ".join(f"{vni}: 1" for vni in range(100, 1123))),
        "f:10:10: sources[1].vni: the map has 1025 entries; use 1 to 1024",
    ),
]
WRONG = [*cases(), *BULKY]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_wrong_file(text: str, said: str) -> None:
    assert complaints(text) == said


def kinds(text: str) -> set[str]:
    try:
        Config.model_validate(reading._read(text).data, by_alias=True, by_name=False)
    except ValidationError as error:
        return {found["type"] for found in error.errors()}
    return set()


def test_every_kind_of_error_has_words_and_occurs() -> None:
    occurred = set[str]().union(*(kinds(text) for text, _ in WRONG))
    elsewhere = {"string_pattern_mismatch", "union_tag_invalid", "union_tag_not_found"}
    assert occurred == set(words.KEY_WORDS) | set(words.VALUE_WORDS) | elsewhere


def test_all_problems_are_shown_in_the_order_of_the_file() -> None:
    text = """\
version: 1
sources:
  - {name: Pbx, type: span, interface: eth1, vni: 012, hook: xpd}
  - {name: aws, type: vxlan, interface: eth0, prot: 1}
t_meters:
  - {name: ohio, address: example.net}
  - {name: ohio, address: 203.0.113.1}
"""
    assert [line.split(": ")[:2] for line in complaints(text).splitlines()] == [
        ["f:3:12", "sources[0].name"],
        ["f:3:51", "sources[0].vni"],
        ["f:3:62", "sources[0].hook"],
        ["f:4:47", "sources[1].prot"],
        ["f:6:27", "t_meters[0].address"],
        ["f:7:5", "t_meters[1]"],
        ["f:7:12", "t_meters[1].name"],
    ]


def test_at_most_twenty_problems_are_shown() -> None:
    lines = complaints("version: 1\n" + "".join(f"k{n}: 1\n" for n in range(25))).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "  and 5 more: mend these first, then check again"


def many_sources(count: int) -> str:
    sources = "".join(f"  - {{name: s{n}, type: span, interface: eth{n}}}\n" for n in range(count))
    return VALID.replace("sources:\n", f"sources:\n{sources}").replace("eth0\n", "other\n", 1)


def test_too_many_sources_and_interfaces() -> None:
    clash = "source 's1' on line 4 takes everything that this interface receives; give each its own"
    assert complaints(many_sources(64)).splitlines() == [
        "f:3:3: sources: 66 are too many; use at most 64",
        "f:19:40: sources[16].interface: this is one interface too many; use at most 16 different ones",
        f"f:69:16: sources[64].interface: {clash}",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version: 1\n# \xe9\n", "PATH:2:3: this is not UTF-8 text; save the file as UTF-8"),
        ("version: 1".encode("utf-16"), "PATH:1:1: this is not UTF-8 text; save the file as UTF-8"),
        (
            b"#" * (1 << 20) + b"\n",
            "PATH: the file is larger than 1 MiB\n  Name the configuration with -c FILE.",
        ),
        (b"\x00\x01", "PATH:1:1: the character U+0000 cannot stand here; remove it"),
    ],
)
def test_wrong_bytes(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "collector.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value) == said.replace("PATH", str(path))


def test_load(tmp_path: Path) -> None:
    path = tmp_path / "collector.yaml"
    path.write_text(VALID)
    assert load(path) == parse(VALID, "f")


def test_path_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f"^{tmp_path}: this is a directory\n  Name the file in it with -c FILE.$"
    ):
        load(tmp_path)
    absent = tmp_path / "absent.yaml"
    with pytest.raises(
        InputError, match=f"^{absent}: there is no such file\n  Write it, or name another with"
    ):
        load(absent)
    with pytest.raises(InputError, match=r"Not a directory\n  Name another file with -c FILE.$"):
        load(SCHEMA / "x")


def test_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        InputError, match=r"^f\.yaml: you may not read this file\n  Run the command as root\.$"
    ):
        load(Path("f.yaml"))


def parse_or_refuse(text: str) -> None:
    try:
        parse(text, "f")
    except InputError as error:
        said = str(error)
    else:
        return
    assert re.match(r"f:\d+:\d+: ", said)
    assert not re.search(r"Input should|Field required|Extra inputs|Value error", said)


@settings(deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    parse_or_refuse(text)


@settings(deadline=None)
@given(st.text(alphabet=" \t\n:-[]{}?&*!|>'\"%@#,~a1.", max_size=60))
def test_any_yaml(text: str) -> None:
    parse_or_refuse(text)


@settings(deadline=None)
@given(st.integers(0, len(VALID)), st.integers(0, 12), st.text(max_size=12))
def test_mutated_file(start: int, length: int, inserted: str) -> None:
    parse_or_refuse(VALID[:start] + inserted + VALID[start + length :])


def keys_of(*models: type[BaseModel]) -> list[str]:
    return [
        str(field.validation_alias or key) for model in models for key, field in model.model_fields.items()
    ]


WORDS = st.sampled_from(
    ["span", "vxlan", "keep", "auto", "eth0", "192.0.2.0/24", "203.0.113.10", "icmp", "", "no"]
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | WORDS, inner, max_size=3)
    ),
    max_leaves=4,
)


def maps(*models: type[BaseModel]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from(keys_of(*models)), JSON, max_size=8)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {"version": st.just(1) | JSON},
        optional={
            "sources": JSON | st.lists(JSON | maps(SpanSource, VxlanSource), max_size=3),
            "t_meters": JSON | st.lists(JSON | maps(TMeter), max_size=2),
            "metrics": JSON | maps(Metrics),
        },
    )
)
def test_any_value_at_any_key(data: dict[str, Any]) -> None:
    parse_or_refuse(json.dumps(data))


TABLES: dict[str, tuple[type[BaseModel], ...]] = {
    "The file": (Config,),
    "Every source": (SpanSource, VxlanSource),
    "span": (SpanSource,),
    "vxlan": (VxlanSource,),
    "The t-meter": (TMeter,),
    "Metrics": (Metrics,),
}
COMMON = set(keys_of(SpanSource)) & set(keys_of(VxlanSource)) - {"vni"}
ROW = re.compile(r"^\| `(\w+)` \| .+? \| (required|`.+?`) \| .+ \|$", re.MULTILINE)


def section(title: str) -> str:
    return re.split(r"^##+ ", DOC.split(f"# {title}\n")[1], flags=re.MULTILINE)[0]


def defaults(model: type[BaseModel]) -> dict[str, object]:
    schema_of = Config.model_json_schema()
    part = schema_of if model is Config else schema_of["$defs"][model.__name__]
    required = dict.fromkeys(part.get("required", []), "required")
    return {key: entry.get("default") for key, entry in part["properties"].items()} | required


@pytest.mark.parametrize("title", TABLES)
def test_documented_keys_and_defaults(title: str) -> None:
    told = {
        key: "required" if default == "required" else yaml.safe_load(default.strip("`"))
        for key, default in ROW.findall(section(title))
    }
    for model in TABLES[title]:
        own = {
            key: default
            for key, default in defaults(model).items()
            if not issubclass(model, SpanSource | VxlanSource) or (key in COMMON) == (title == "Every source")
        }
        assert told == own


def test_documented_examples() -> None:
    examples = re.findall(r"```yaml\n(.+?)```", DOC, re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        assert parse(example, "f").t_meters[0].name == "ohio"


def test_schema_is_current() -> None:
    assert SCHEMA.read_text() == schema(), f"{sys.executable} -m collector.control.config > {SCHEMA}"


def test_schema_is_printed() -> None:
    command = [sys.executable, "-m", "collector.control.config"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout == schema()
