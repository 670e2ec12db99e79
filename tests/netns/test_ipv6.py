"""The same over IPv6: a t-meter that checks checksums, oversize frames, mirrors, neighbours, gateways."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from collector.operate.lab import Namespace, wait_for
from tests.lib import mirrored, wrapped
from tests.lib.call import call, in_ipv6
from tests.lib.dissection import behind, dissect
from tests.lib.rig import STATUS_HOOK, Rig
from tests.lib.rig6 import (
    COLLECTOR6,
    FAR_T_METER6,
    GATEWAY6,
    OVERHEAD6,
    T_METER6,
    behind_gateway6,
    inner6,
    is_outer6,
    on_link6,
)
from tests.lib.tap import Tap, send
from tests.lib.tshark import VXLAN, fields
from tests.lib.wrapped import BARE_IPV6, FORMS

HOOKS = pytest.mark.parametrize("hook", ["xdp", "tc"])
PATH_MTU = 1500
FITS = PATH_MTU - OVERHEAD6
MANY = 500
MIRROR6, MIRRORED_TO6 = "2001:db8:5::17", "2001:db8:5::1"
NEW_MAC = "02:00:00:00:0f:06"
NUD_FAILED = 0x20
FIXED_VNI = {"gre": 21, "tzsp": 22, "ipip": 23}
HEADERS = {
    "ipv6.src": COLLECTOR6,
    "ipv6.dst": T_METER6,
    "ipv6.hlim": "64",
    "udp.checksum.status": "1",  # good
    **VXLAN,
}


@pytest.fixture(scope="module", params=["xdp", "tc"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """The t-meter's kernel drops what has a wrong UDP checksum, or none."""
    with on_link6(request.param) as rig:
        rig.apply(address=T_METER6)
        yield rig


@pytest.fixture(scope="module")
def cloud(rig: Rig) -> Namespace:
    """A mirror of every kind, which is at the collector's eth2."""
    mirror = rig.lab.namespace("cloud", ipv6=True)
    mirror.link("eth0", rig.collector, "eth2")
    rig.collector.address("eth2", f"{MIRRORED_TO6}/64")
    rig.tool.apply([rig.span(), *tunnels(rig.hook)], address=T_METER6)
    return mirror


def tunnels(hook: str) -> Iterator[dict[str, object]]:
    for kind in ("vxlan", "geneve", "gre", "erspan", "tzsp", "ipip"):
        vni = {"vni": FIXED_VNI[kind]} if kind in FIXED_VNI else {}
        yield {
            "name": kind, "type": kind, "interface": "eth2", "hook": hook, "from": ["2001:db8:5::/64"], **vni
        }  # fmt: skip


def uplink(rig: Rig) -> Tap:
    return Tap(rig.t_meter, "eth0", is_outer6)


def snmp6(machine: Namespace, counter: str) -> int:
    with machine.enter():
        lines = Path("/proc/thread-self/net/snmp6").read_text().splitlines()
    return int(dict(line.split() for line in lines)[counter])


def kinds() -> dict[str, bytes]:
    return mirrored.well_formed() | mirrored.malformed() | mirrored.runts()


def numbered(count: int, smallest: int) -> list[bytes]:
    sizes = tuple(random.Random(6).randint(smallest, mirrored.LARGEST) for _ in range(count))  # noqa: S311
    return list(mirrored.numbered(count, sizes, flows=7))


def test_every_kind_of_frame_arrives_byte_for_byte_with_a_right_checksum(rig: Rig) -> None:
    frames = [frame for frame in kinds().values() if len(frame) <= FITS]
    with uplink(rig) as tap:
        rig.send(*frames)
        outer = tap.wait(len(frames))
    assert sorted(map(inner6, outer)) == sorted(frames)
    assert set(fields(outer, list(HEADERS))) == {tuple(HEADERS.values())}
    assert rig.tool.status().source()["hook"] == STATUS_HOOK[rig.hook]


def test_a_kernel_that_wants_checksums_takes_them(rig: Rig) -> None:
    frames = list(mirrored.well_formed().values())
    with rig.tap() as tap:
        rig.send(*frames)
        assert sorted(tap.wait(len(frames))) == sorted(frames)
    assert snmp6(rig.t_meter, "Udp6InCsumErrors") == 0


def test_fragments_are_all_reassembled_by_the_kernel_and_nothing_is_changed(rig: Rig) -> None:
    before, reassembled = rig.tool.status(), snmp6(rig.t_meter, "Ip6ReasmOKs")
    frames = numbered(MANY, FITS + 1)
    with rig.tap() as tap, uplink(rig) as wire:
        rig.send(*frames)
        assert tap.wait(MANY) == frames
        packets = wire.frames()
    assert len(packets) == 2 * MANY
    assert max(map(len, packets)) <= PATH_MTU + 14
    assert snmp6(rig.t_meter, "Ip6ReasmOKs") - reassembled == MANY
    identities = {identity for (identity,) in fields(packets, ["ipv6.fraghdr.ident"])}
    assert len(identities) == MANY
    after = rig.tool.status()
    assert after.sent - before.sent == after.frames - before.frames == MANY
    assert after.drops == before.drops


def test_the_largest_frame_that_fits_is_not_fragmented(rig: Rig) -> None:
    fits, exceeds = mirrored.numbered(2, (FITS, FITS + 1))
    with uplink(rig) as wire:
        rig.send(fits)
        assert [inner6(packet) for packet in wire.wait(1)] == [fits]
        rig.send(exceeds)
        assert len(wire.wait(3)) == 3


def test_tunnels_over_ipv6_carry_the_same_call(rig: Rig, cloud: Namespace) -> None:
    """tshark's view of what leaves is its view of what was mirrored."""
    forms = FORMS | BARE_IPV6
    frames = call(1)
    link = wrapped.outer_ipv6(MIRROR6, MIRRORED_TO6, rig.collector.mac("eth2"))
    outer: list[bytes] = []
    with uplink(rig) as tap:
        for name, form in forms.items():
            seen = len(tap.frames())
            mirrored_frames = [in_ipv6(frame) for frame in frames] if name in BARE_IPV6 else frames
            send(cloud, "eth0", [form.packet(link, frame) for frame in mirrored_frames])
            outer += (arrived := tap.wait(seen + len(frames))[seen:])
            assert (name, set(map(vni_of, arrived))) == (name, {FIXED_VNI.get(form.source, form.vni)})
    expected = [
        form.expected(in_ipv6(frame) if name in BARE_IPV6 else frame)
        for name, form in forms.items()
        for frame in frames
    ]
    assert list(map(inner6, outer)) == expected
    assert [behind(layers, "vxlan") for layers in dissect(outer)] == dissect(expected)


def vni_of(outer: bytes) -> int:
    return int.from_bytes(outer[66:69], "big")


def test_a_mirrors_packet_in_fragments_is_counted_for_what_it_is(rig: Rig, cloud: Namespace) -> None:
    """The first has the port; a later one is passed to the host, which cannot use it."""
    link = wrapped.outer_ipv6(MIRROR6, MIRRORED_TO6, rig.collector.mac("eth2"))
    whole = IPv6(FORMS["vxlan"].packet(link, call(0)[0])[14:])
    first = Ether(bytes(link)[:14]) / IPv6(src=MIRROR6, dst=MIRRORED_TO6, nh=44)
    head = bytes.fromhex("1100 0001 00000007")  # UDP, offset 0, more to come
    before = rig.tool.status()
    send(cloud, "eth0", [bytes(first / Raw(head + bytes(whole.payload)[:80]))])
    after = rig.tool.settled(before.frames + 1)
    assert after.drops == {**before.drops, "outer_fragment": before.drops.get("outer_fragment", 0) + 1}
    assert after.sent == before.sent


def test_a_mirrored_ping_to_the_collector_itself_is_not_answered(rig: Rig) -> None:
    macs = [rig.collector.mac("eth1"), rig.collector.mac("eth0"), mirrored.BROADCAST, mirrored.PBX]
    ping = IPv6(src=T_METER6, dst=COLLECTOR6) / ICMPv6EchoRequest(data=b"p" * 56)
    pings = [bytes(Ether(src=mirrored.PHONE, dst=mac) / ping) for mac in macs]
    echoes = snmp6(rig.collector, "Icmp6InEchos")
    with rig.tap() as tap, Tap(rig.switch, "span0") as back:
        rig.send(*pings)
        assert sorted(tap.wait(len(pings))) == sorted(pings)
        assert back.frames() == []
    assert snmp6(rig.collector, "Icmp6InEchos") == echoes


def test_slice_and_drop(rig: Rig) -> None:
    frames = list(mirrored.numbered(20, (mirrored.LARGEST, FITS + 1, FITS, 100)))
    rig.apply(address=T_METER6, oversize="slice")
    with rig.tap() as tap:
        rig.send(*frames)
        assert sorted(tap.wait(20)) == sorted(frame[:FITS] for frame in frames)
    rig.apply(address=T_METER6, oversize="drop")
    before = rig.tool.status()
    with rig.tap() as tap:
        rig.send(*frames)
        assert sorted(tap.wait(10)) == sorted(frame for frame in frames if len(frame) <= FITS)
    after = rig.tool.status()
    assert (after.frames - before.frames, after.sent - before.sent) == (20, 10)
    assert after.drops == {**before.drops, "oversize": before.drops.get("oversize", 0) + 10}


def test_without_checksums_a_default_receiver_takes_nothing(rig: Rig) -> None:
    """What the default is for: the kernel drops the first frame, and takes the second."""
    unchecked, checked = mirrored.numbered(2, (214,))
    with rig.tap() as tap, uplink(rig) as wire:
        rig.apply(address=T_METER6, udp_checksum=False)
        rig.send(unchecked)
        assert fields(wire.wait(1), ["udp.checksum"]) == [("0x0000",)]
        rig.apply(address=T_METER6)
        rig.send(checked)
        assert tap.wait(1) == [checked]


@HOOKS
def test_a_receiver_that_is_told_takes_frames_without_checksums(hook: str) -> None:
    """Oversize ones too."""
    frames = [*mirrored.well_formed().values(), *numbered(20, FITS + 1)]
    with on_link6(hook, takes_zero_checksums=True) as rig:
        rig.apply(address=T_METER6, udp_checksum=False)
        with rig.tap() as tap, uplink(rig) as wire:
            rig.send(*frames)
            assert sorted(tap.wait(len(frames))) == sorted(frames)
            whole = fields(wire.frames(), ["udp.checksum"], only="vxlan and not ipv6.fragment")
            assert set(whole) == {("0x0000",)}


@HOOKS
def test_frames_wait_for_the_neighbour_as_long_as_the_kernel_asks(hook: str) -> None:
    """A t-meter without its address answers no solicitation."""
    kinds = mirrored.well_formed()
    frames = [*kinds.values(), *(kinds[name].ljust(1514, b"+") for name in ("unicast", "broadcast", "qinq"))]
    with on_link6(hook) as rig:
        index = rig.t_meter.index("eth0")
        rig.t_meter.ipr.addr("del", index=index, address=T_METER6, prefixlen=64)
        for key, value in (("retrans_time_ms", 300), ("mcast_solicit", 4)):  # gives up after 1.2 s, not 3
            rig.collector.sysctl(f"net.ipv6.neigh.eth0.{key}", value)
        rig.apply(address=T_METER6)
        assert rig.tool.status().raw["t_meters"][0]["up"] is False
        with rig.tap() as tap:
            wait_for(lambda: neighbour(rig.collector, T_METER6)[0] == NUD_FAILED, "discovery to give up")
            rig.send(*frames)
            wait_for(lambda: rig.tool.status().drops == {"neighbour": len(frames)}, "all frames counted")

            wait_for(lambda: neighbour(rig.collector, T_METER6)[0] == NUD_FAILED, "discovery to give up")
            rig.send(*frames)
            rig.t_meter.address("eth0", f"{T_METER6}/64")
            assert sorted(tap.wait(len(frames))) == sorted(frames)
        status = rig.tool.status()
        assert (status.sent, status.drops) == (len(frames), {"neighbour": len(frames)})


@HOOKS
def test_a_gateway_that_changes_its_mac_address_is_followed(hook: str) -> None:
    first, then = list(mirrored.numbered(50, (60, 1514))), list(mirrored.numbered(50, (60, 1514), first=50))
    with behind_gateway6(hook) as rig:
        assert rig.gateway is not None
        rig.apply(address=FAR_T_METER6)
        with rig.tap() as tap:
            rig.send(*first)
            assert sorted(tap.wait(50)) == sorted(first)
            rig.gateway.ipr.link("set", index=rig.gateway.index("eth0"), address=NEW_MAC)
            send(rig.gateway, "eth0", [unsolicited_advertisement()])
            wait_for(lambda: neighbour(rig.collector, GATEWAY6)[1] == NEW_MAC, "its new address")
            rig.send(*then)
            assert sorted(tap.wait(100)) == sorted(first + then)
        assert rig.tool.status().drops == {}


def unsolicited_advertisement() -> bytes:
    return bytes(
        Ether(src=NEW_MAC, dst="33:33:00:00:00:01")
        / IPv6(src=GATEWAY6, dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(tgt=GATEWAY6, R=1, S=0, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=NEW_MAC)
    )


def neighbour(machine: Namespace, address: str) -> tuple[int, str]:
    """Its state and its MAC address."""
    for message in machine.ipr.get_neighbours(family=socket.AF_INET6):
        if message.get_attr("NDA_DST") == address:
            return message["state"], str(message.get_attr("NDA_LLADDR"))
    return 0, ""
