"""Does this file become the right configuration, or exactly the right error?"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from collector.control import config as reading
from collector.control import document as words
from collector.control.config import Config, digest, load, parse, schema
from collector.control.conflicts import clash
from collector.control.models import (
    SOURCE_CLASSES,
    AnySource,
    ByMac,
    ErspanSource,
    GeneveSource,
    GreSource,
    IpipSource,
    Metrics,
    SpanSource,
    Telephony,
    TMeter,
    TzspSource,
    VniMap,
    VxlanSource,
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


ANY: list[AnySource] = [
    SpanSource(name="a", type="span", interface="e", vni=12, shared=False),
    VxlanSource(name="a", type="vxlan", interface="e", port=4789, vni="keep"),
    GeneveSource(name="a", type="geneve", interface="e", port=6081, vni="keep"),
    ErspanSource(name="a", type="erspan", interface="e", vni="keep"),
    GreSource(name="a", type="gre", interface="e", vni=12),
    TzspSource(name="a", type="tzsp", interface="e", port=37008, vni=12),
    IpipSource(name="a", type="ipip", interface="e", vni=12),
]


def one(source: str, t_meter: str = "name: ohio, address: 203.0.113.10") -> Config:
    text = f"version: 1\nsources: [{{name: a, interface: e, {source}}}]\nt_meters: [{{{t_meter}}}]\n"
    return parse(text, "f")


@pytest.mark.parametrize("source", ANY, ids=SOURCE_CLASSES)
def test_a_type_and_nothing_else(source: AnySource) -> None:
    assert one(f"type: {source.type}").sources == (source,)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            "type: span, shared: true, rspan_vlan: 4094",
            SpanSource(name="a", type="span", interface="e", shared=True, rspan_vlan=4094),
        ),
        (
            "type: geneve, port: 6082, vni: {1: 2}, from: [192.0.2.0/24, '2001:db8::/32', '2001:db8::7']",
            GeneveSource(
                name="a", type="geneve", interface="e", port=6082, vni=VniMap(entries=((1, 2),)),
                from_=tuple(map(ip_network, ("192.0.2.0/24", "2001:db8::/32", "2001:db8::7/128"))),
            ),
        ),
        ("type: erspan, vni: 0", ErspanSource(name="a", type="erspan", interface="e", vni=0)),
        (
            "type: ipip, vni: 16777215, from: ['::/0']",
            IpipSource(name="a", type="ipip", interface="e", vni=16777215, from_=(IPv6Network("::/0"),)),
        ),
    ],
    ids=["span", "geneve", "erspan", "ipip"],
)  # fmt: skip
def test_keys_of_a_type(written: str, read: AnySource) -> None:
    assert one(written).sources == (read,)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2001:DB8:0::1", IPv6Address("2001:db8::1")),
        ("tm.Example.net.", "tm.example.net"),
        ("tm", "tm"),
        ("4tm.example.net", "4tm.example.net"),
        (".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
    ],
)
def test_addresses_of_a_t_meter(written: str, read: object) -> None:
    assert one("type: span", f"name: ohio, address: '{written}'").t_meter_address == read


def test_the_checksum_over_ipv6() -> None:
    assert one("type: span").t_meters[0].udp_checksum is True
    assert one("type: span", "name: x, address: '::2', udp_checksum: false").t_meters[0].udp_checksum is False


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
    assert parse(f"version: 1\nmetrics: {{listen: '{listen}'}}", "f").metrics.endpoints == (endpoint,)
    both = parse(f"version: 1\nmetrics: {{listen: ['{listen}', '[::2]:1'], web_config: /w}}", "f")
    assert both.metrics.endpoints == (endpoint, ("::2", 1))


def test_vxlan_sources_may_share_a_port_when_their_senders_differ() -> None:
    more = VALID.replace(
        "t_meters:",
        "  - {name: b, type: vxlan, interface: eth0, from: [10.1.0.0/16]}\n"
        "  - {name: c, type: vxlan, interface: eth0, port: 4790}\nt_meters:",
    )
    assert len(parse(more, "f").sources) == 4


def test_all_tunnels_on_one_nic() -> None:
    """ERSPAN is GRE too, and yet told apart from it."""
    more = "".join(
        f"  - {{name: {kind}, type: {kind}, interface: eth0}}\n"
        for kind in ("geneve", "erspan", "gre", "tzsp", "ipip")
    )
    assert len(parse(VALID.replace("t_meters:", f"{more}t_meters:"), "f").sources) == 7


IPV4 = ["192.0.2.0/24", "192.0.2.7/32", "198.51.100.0/24", "0.0.0.0/0"]
NETWORKS = [*IPV4, "::/0", "2001:db8::/32", "2001:db8::7"]


@given(*[st.lists(st.sampled_from(NETWORKS), max_size=3)] * 2)
def test_senders_overlap_as_networks_do(first: list[str], second: list[str]) -> None:
    sources = [
        GreSource(name="a", type="gre", interface="e", from_=tuple(ip_network(each) for each in senders))
        for senders in (first, second)
    ]
    overlap = any(
        one.version == other.version and one.overlaps(other)
        for one in map(ip_network, first or ["0.0.0.0/0", "::/0"])
        for other in map(ip_network, second or ["0.0.0.0/0", "::/0"])
    )
    assert (clash(*sources) is not None) == overlap


def test_digest_is_of_the_meaning() -> None:
    same = VALID.replace("interface: eth1", "interface: eth1\n    vni: 12  # the default")
    same = same.replace("18: 102, 17: 101", "17: 101, 18: 102")
    assert digest(parse(VALID, "f")) == digest(parse(same, "g")) == "5f0d16af0b2a"
    assert digest(parse(VALID.replace("eth1", "eth2"), "f")) != digest(parse(VALID, "f"))
    assert digest(Config()) == "44136fa355b3"


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
  - {name: ohio, address: example..net}
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


@given(st.text())
def test_any_text(text: str) -> None:
    parse_or_refuse(text)


@given(st.text(alphabet=" \t\n:-[]{}?&*!|>'\"%@#,~a1.", max_size=60))
def test_any_yaml(text: str) -> None:
    parse_or_refuse(text)


@given(st.integers(0, len(VALID)), st.integers(0, 12), st.text(max_size=12))
def test_mutated_file(start: int, length: int, inserted: str) -> None:
    parse_or_refuse(VALID[:start] + inserted + VALID[start + length :])


def keys_of(*models: type[BaseModel]) -> list[str]:
    return [
        str(field.validation_alias or key) for model in models for key, field in model.model_fields.items()
    ]


ADDRESSES = ["192.0.2.0/24", "2001:db8::/32", "203.0.113.10", "::1", "tm.example.net"]
WORDS = st.sampled_from([*SOURCE_CLASSES, *ADDRESSES, "keep", "auto", "eth0", "icmp", "", "no"])
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


@settings(max_examples=300)
@given(
    st.fixed_dictionaries(
        {"version": st.just(1) | JSON},
        optional={
            "sources": JSON | st.lists(JSON | maps(*SOURCE_CLASSES.values()), max_size=3),
            "t_meters": JSON | st.lists(JSON | maps(TMeter), max_size=2),
            "telephony": JSON | maps(Telephony),
            "metrics": JSON | maps(Metrics),
        },
    )
)
def test_any_value_at_any_key(data: dict[str, Any]) -> None:
    parse_or_refuse(json.dumps(data))


SOURCES = tuple(SOURCE_CLASSES.values())
TABLES: dict[str, tuple[type[BaseModel], ...]] = {
    "The file": (Config,),
    "Every source": SOURCES,
    **{title: (model,) for title, model in zip(SOURCE_CLASSES, SOURCES, strict=True)},
    "The t-meter": (TMeter,),
    "Telephony": (Telephony,),
    "Metrics": (Metrics,),
}
COMMON = set.intersection(*(set(keys_of(model)) for model in SOURCES)) - {"vni"}
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
        key: {"required": "required", "`none`": None}.get(default, yaml.safe_load(default.strip("`")))
        for key, default in ROW.findall(section(title))
    }
    for model in TABLES[title]:
        own = {
            key: default
            for key, default in defaults(model).items()
            if model not in SOURCES or (key in COMMON) == (title == "Every source")
        }
        assert told == own


def test_documented_examples() -> None:
    examples = re.findall(r"```yaml\n(.+?)```", DOC, re.DOTALL)
    assert len(examples) == 12
    for example in examples:
        assert parse(example, "f").t_meters[0].name == "ohio"


def test_schema_is_current() -> None:
    assert SCHEMA.read_text() == schema(), f"{sys.executable} -m collector.control.config > {SCHEMA}"


def test_schema_is_printed() -> None:
    command = [sys.executable, "-m", "collector.control.config"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout == schema()
