"""bpf/shared.h and its copy in Python: the same numbers, the same bytes."""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import fields
from enum import IntEnum
from pathlib import Path

import pytest

from collector.datapath import counters, program, vxlan
from collector.datapath.program import NONE, DropReason, Oversize, SourceType, VniRule
from collector.datapath.splitter import Splitter
from tests.lib.btf import Btf, read_btf
from tests.lib.datapath import COLLECTOR, TMETER, Site, dropped

ROOT = Path(__file__).parents[2]
SHARED = (program.OBJECT.parent / "shared.h").read_text()


@pytest.fixture(scope="module")
def btf() -> Btf:
    return read_btf(program.OBJECT)


def c_enum(name: str) -> dict[str, int]:
    (body,) = re.findall(rf"enum {name} \{{(.*?)\}};", SHARED, re.DOTALL)
    values: dict[str, int] = {}
    following = 0
    for member, value in re.findall(r"^\s*(\w+)(?:\s*=\s*(-?\d+))?,", body, re.MULTILINE):
        values[member] = int(value) if value else following
        following = values[member] + 1
    return values


def c_number(name: str) -> int:
    (value,) = re.findall(rf"#define {name} (\w+)", SHARED)
    return int(value, 0)


@pytest.mark.parametrize(
    ("name", "prefix", "ours"),
    [
        ("drop_reason", "DROP_", DropReason),
        ("source_type", "SOURCE_", SourceType),
        ("vni_rule", "VNI_", VniRule),
        ("oversize", "OVERSIZE_", Oversize),
    ],
)
def test_enum(name: str, prefix: str, ours: type[IntEnum]) -> None:
    members = {k.removeprefix(prefix): v for k, v in c_enum(name).items() if not k.startswith("NR_")}
    assert members == {member.name: member.value for member in ours}


def test_numbers() -> None:
    for name in ("MAX_NICS", "MAX_SOURCES", "NONE"):
        assert getattr(program, name) == c_number(name), name
    assert counters._DROP_SLOTS == c_number("DROP_SLOTS") > max(DropReason)
    assert c_enum("drop_reason")["NR_DROP_REASONS"] == max(DropReason) + 1


def test_sizes(btf: Btf) -> None:
    sizes = {
        "config": program.CONFIG_SIZE,
        "nic": program._NIC.size,
        "tmeter": program._TMETER.size,
        "source": program._SOURCE.size,
        "sender_key": program._SENDER_KEY.size,
        "vni_key": program._VNI_KEY.size,
        "source_counters": counters._SOURCE.size,
        "tmeter_counters": counters._TMETER.size,
        "outer": vxlan.OUTER_OVERHEAD,
    }
    assert {name: btf.struct(name)["size"] for name in sizes} == sizes


def network_order(address: str) -> int:
    """As a __be32 reads on this machine."""
    return int.from_bytes(socket.inet_aton(address), "little")


def test_configuration_byte_for_byte(btf: Btf, site: Site) -> None:
    pbx = site.span("pbx", slot=0, vni=12, strip_vlan=True)
    aws = site.vxlan("aws", slot=1, ifindex=site.nic2)
    azure = site.vxlan("azure", slot=63, ifindex=site.nic2, port=8472, vni_rule=VniRule.MAP, vni=None)
    settings = site.settings(pbx, aws, azure, path_mtu=1492, oversize=Oversize.DROP)
    read = btf.decode(btf.struct("config")["id"], settings.encode())
    assert (read["netns"], read["splitter_tx"], read["splitter_rx"]) == (
        site.netns,
        site.splitter.tx,
        site.splitter.rx,
    )
    assert read["nr_nics"] == 2
    assert read["nics"][:3] == [
        {"ifindex": site.nic, "span": 0, "first": 0},
        {"ifindex": site.nic2, "span": NONE, "first": 1},
        {"ifindex": 0, "span": 0, "first": 0},
    ]
    assert read["tmeter"] == {
        "name": b"ohio".ljust(32, b"\0"),
        "saddr": network_order(COLLECTOR),
        "daddr": network_order(TMETER),
        "port": socket.htons(4789),
        "path_mtu": 1492,
        "oversize": Oversize.DROP,
        "ifindex": site.uplink,
    }
    assert {slot: source for slot, source in enumerate(read["sources"]) if source["type"]} == {
        0: source_struct("pbx", SourceType.SPAN, VniRule.FIXED, 12, strip=1),
        1: source_struct("aws", SourceType.VXLAN, VniRule.KEEP, NONE),
        63: source_struct("azure", SourceType.VXLAN, VniRule.MAP, NONE),
    }


def source_struct(
    name: str, kind: SourceType, rule: VniRule, vni: int, *, strip: int = 0
) -> dict[str, bytes | int]:
    padded = name.encode().ljust(32, b"\0")
    return {"name": padded, "type": kind, "vni_rule": rule, "vni": vni, "strip_vlan": strip}


def test_map_keys_byte_for_byte(btf: Btf, site: Site) -> None:
    source = site.vxlan(slot=7, port=8472, senders="198.51.100.0/24", vni_map=((17, 101),))
    settings = site.settings(source)
    ((sender, slot),) = settings.sender_entries().items()
    ((rule, vni),) = settings.vni_entries().items()
    assert btf.decode(btf.struct("sender_key")["id"], sender) == {
        "prefixlen": 64 + 96 + 24,
        "ifindex": site.nic,
        "type": SourceType.VXLAN,
        "port": socket.htons(8472),
        "address": bytes(10) + b"\xff\xff" + socket.inet_aton("198.51.100.0"),
    }
    assert btf.decode(btf.struct("vni_key")["id"], rule) == {"source": 7, "vni": 17}
    assert (slot, vni) == (struct.pack("<I", 7), struct.pack("<I", 101))


@pytest.mark.parametrize("name", ["source_counters", "tmeter_counters"])
def test_counters_in_the_same_order(btf: Btf, name: str) -> None:
    """Each an u64: their order is all there is to compare."""
    ours = {
        "source_counters": ["frames", "bytes", "passed_frames", "last_frame_ns", "drops"],
        "tmeter_counters": [field.name for field in fields(counters.TMeterCounters)],
    }
    members = btf.struct(name)["members"]
    assert [member["name"] for member in members] == ours[name]
    assert [member["bits_offset"] for member in members] == [64 * i for i in range(len(members))]


def test_every_drop_reason_has_a_name_that_reads_well() -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", reason.name.lower()) for reason in DropReason)
    assert dropped("pbx", 1, "loop").keys() == {"pbx bytes", "pbx frames", "pbx loop"}


@pytest.mark.parametrize("reason", DropReason)
def test_every_drop_reason_is_explained(reason: DropReason) -> None:
    assert f"`{reason.name.lower()}`" in (ROOT / "docs/datapath.md").read_text()


def test_a_splitter_that_is_down_is_the_same_splitter() -> None:
    """What is compared is what the program was loaded with."""
    assert Splitter(1, 2, up=False) == Splitter(1, 2, up=True)
