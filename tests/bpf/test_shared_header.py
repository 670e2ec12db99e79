"""bpf/shared.h and its copy in Python: the same numbers, the same bytes."""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import fields
from enum import IntEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from collector.datapath import counters, program, settings, vxlan
from collector.datapath.ports import ALL, Ports, Telephony, encode_ports
from collector.datapath.settings import NONE, DropReason, Oversize, SourceType, VniRule
from collector.datapath.splitter import Splitter
from tests.lib.btf import Btf, read_btf
from tests.lib.datapath import (
    COLLECTOR,
    COLLECTOR6,
    OVER_IPV4,
    OVER_IPV6,
    OVER_IPV6_UNCHECKED,
    TMETER,
    TMETER6,
    Site,
    dropped,
)

CPUS = 4
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
        ("telephony", "TELEPHONY_", Telephony),
    ],
)
def test_enum(name: str, prefix: str, ours: type[IntEnum]) -> None:
    members = {k.removeprefix(prefix): v for k, v in c_enum(name).items() if not k.startswith("NR_")}
    members.pop("NONE", None)
    assert members == {member.name: member.value for member in ours}


def test_numbers() -> None:
    for name in ("MAX_NICS", "MAX_SOURCES", "MAX_OWN_ADDRESSES", "NONE"):
        assert getattr(settings, name) == c_number(name), name
    assert counters._DROP_SLOTS == c_number("DROP_SLOTS") > max(DropReason)
    assert c_enum("drop_reason")["NR_DROP_REASONS"] == max(DropReason) + 1


def test_a_byte_a_port() -> None:
    (size,) = re.findall(r"telephony_ports\[(\d+)\]", SHARED)
    table = encode_ports((Ports(0, 1, Telephony.RTP), Ports(65535, 65535, Telephony.SIP)))
    assert len(table) == ALL == int(size)
    assert {port: kind for port, kind in enumerate(table) if kind} == {0: 2, 1: 2, 65535: 1}


def test_sizes(btf: Btf) -> None:
    sizes = {
        "config": settings.CONFIG_SIZE,
        "nic": settings._NIC.size,
        "tmeter": settings._TMETER.size,
        "source": settings._SOURCE.size,
        "sender_key": settings._SENDER_KEY.size,
        "vni_key": settings._VNI_KEY.size,
        "source_counters": counters._SOURCE.size,
        "tmeter_counters": counters._TMETER.size,
        "outer_ipv4": vxlan.ETHERNET_HEADER + vxlan.OUTER_IP_OVERHEAD,
        "outer_ipv6": vxlan.ETHERNET_HEADER + vxlan.OUTER_IPV6_OVERHEAD,
    }
    assert {name: btf.struct(name)["size"] for name in sizes} == sizes


def as_words(address: str) -> list[int]:
    """As __be32[4] reads on this machine; IPv4 as ::ffff:a.b.c.d."""
    raw = ip_address(address).packed
    return list(struct.unpack("<4I", raw if len(raw) == 16 else bytes(10) + b"\xff\xff" + raw))


def nic_struct(ifindex: int, span: int, first: int, **shared: Any) -> dict[str, Any]:
    nothing = {"shared": 0, "strict": 0, "nr_addresses": 0, "mac": bytes(8), "own_addresses": []}
    read: dict[str, Any] = {"ifindex": ifindex, "span": span, "first": first} | nothing | shared
    room = settings.MAX_OWN_ADDRESSES - len(read["own_addresses"])
    return read | {"own_addresses": read["own_addresses"] + [[0, 0, 0, 0]] * room}


def test_nics_byte_for_byte(btf: Btf, site: Site) -> None:
    own = (ip_address(COLLECTOR), ip_address(COLLECTOR6))
    pbx = site.span("pbx", slot=3, shared_mac="02:00:00:00:00:aa", strict=(4, 6), own=own)
    aws = site.vxlan("aws", slot=1, ifindex=site.nic2)
    read = btf.decode(btf.struct("config")["id"], site.settings(pbx, aws).encode(CPUS))
    assert read["nr_nics"] == 2
    sharing = {
        "shared": 1,
        "strict": 1 << 4 | 1 << 6,
        "nr_addresses": 2,
        "mac": bytes.fromhex("0200000000aa0000"),
        "own_addresses": [as_words(COLLECTOR), as_words(COLLECTOR6)],
    }
    assert read["nics"][:3] == [
        nic_struct(site.nic, 3, 3, **sharing),
        nic_struct(site.nic2, NONE, 1),
        nic_struct(0, 0, 0),
    ]


def test_sources_byte_for_byte(btf: Btf, site: Site) -> None:
    pbx = site.span("pbx", slot=0, vni=12, strip_vlan=True, rspan_vlan=4094)
    aws = site.vxlan("aws", slot=1, ifindex=site.nic2)
    azure = site.vxlan("azure", slot=63, ifindex=site.nic2, port=8472, vni_rule=VniRule.MAP, vni=None)
    read = btf.decode(btf.struct("config")["id"], site.settings(pbx, aws, azure).encode(CPUS))
    assert {slot: source for slot, source in enumerate(read["sources"]) if source["type"]} == {
        0: source_struct("pbx", SourceType.SPAN, VniRule.FIXED, 12, strip_vlan=1, rspan_vlan=4094),
        1: source_struct("aws", SourceType.VXLAN, VniRule.KEEP, NONE),
        63: source_struct("azure", SourceType.VXLAN, VniRule.MAP, NONE),
    }


def source_struct(
    name: str, kind: SourceType, rule: VniRule, vni: int, *, strip_vlan: int = 0, rspan_vlan: int = 0
) -> dict[str, bytes | int]:
    padded = name.encode().ljust(32, b"\0")
    tags = {"strip_vlan": strip_vlan, "rspan_vlan": rspan_vlan}
    return {"name": padded, "type": kind, "vni_rule": rule, "vni": vni, **tags}


@pytest.mark.parametrize(
    ("over", "source", "address", "ipv6", "udp_checksum"),
    [
        (OVER_IPV4, COLLECTOR, TMETER, 0, 0),
        (OVER_IPV6, COLLECTOR6, TMETER6, 1, 1),
        (OVER_IPV6_UNCHECKED, COLLECTOR6, TMETER6, 1, 0),
    ],
    ids=["IPv4", "IPv6", "IPv6 without checksum"],
)
def test_tmeter_byte_for_byte(
    btf: Btf, site: Site, over: dict[str, Any], source: str, address: str, ipv6: int, udp_checksum: int
) -> None:
    wanted = site.settings(site.span(), path_mtu=1492, oversize=Oversize.DROP, **over)
    read = btf.decode(btf.struct("config")["id"], wanted.encode(CPUS))
    assert (read["netns"], read["nr_cpus"], read["splitter_tx"], read["splitter_rx"]) == (
        site.netns,
        CPUS,
        site.splitter.tx,
        site.splitter.rx,
    )
    assert read["tmeter"] == {
        "name": b"ohio".ljust(32, b"\0"),
        "saddr": as_words(source),
        "daddr": as_words(address),
        "port": socket.htons(4789),
        "path_mtu": 1492,
        "oversize": Oversize.DROP,
        "ifindex": site.uplink,
        "ipv6": ipv6,
        "udp_checksum": udp_checksum,
    }


UDP, GRE, ERSPAN = 17, 47, 0x88BE


@pytest.mark.parametrize(
    ("kind", "port", "carriers"),
    [
        (SourceType.VXLAN, 8472, {(UDP, 8472)}),
        (SourceType.GENEVE, 6081, {(UDP, 6081)}),
        (SourceType.TZSP, 37008, {(UDP, 37008)}),
        (SourceType.GRE, 0, {(GRE, 0)}),
        (SourceType.ERSPAN, 0, {(GRE, ERSPAN)}),
        (SourceType.IPIP, 0, {(4, 0), (41, 0)}),
    ],
)
@pytest.mark.parametrize(("sender", "bits"), [("198.51.100.0/24", 96 + 24), ("2001:db8::/32", 32)])
def test_sender_keys_byte_for_byte(
    btf: Btf, site: Site, kind: SourceType, port: int, carriers: set[tuple[int, int]], sender: str, bits: int
) -> None:
    entries = site.settings(site.tunnel(kind, slot=7, port=port, senders=sender)).sender_entries()
    assert set(entries.values()) == {struct.pack("<I", 7)}
    read = [btf.decode(btf.struct("sender_key")["id"], key) for key in entries]
    assert {(key.pop("protocol"), socket.ntohs(key.pop("port"))) for key in read} == carriers
    version = 6 if ":" in sender else 4
    rest = {"prefixlen": 64 + bits, "ifindex": site.nic, "version": version}
    assert read == [rest | {"address": as_words(sender.partition("/")[0])}] * len(carriers)


def test_vni_keys_byte_for_byte(btf: Btf, site: Site) -> None:
    ((rule, vni),) = site.settings(site.vxlan(slot=7, vni_map=((17, 101),))).vni_entries().items()
    assert btf.decode(btf.struct("vni_key")["id"], rule) == {"source": 7, "vni": 17}
    assert vni == struct.pack("<I", 101)


@pytest.mark.parametrize("name", ["source_counters", "tmeter_counters"])
def test_counters_in_the_same_order(btf: Btf, name: str) -> None:
    """Each an u64: their order is all there is to compare."""
    ours = {
        "source_counters": [
            "frames",
            "bytes",
            "passed_frames",
            "last_frame_ns",
            "last_sip_ns",
            "last_rtp_ns",
            "drops",
        ],
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
