"""One NIC for everything: the host's own traffic, the mirrored frames, and the way to the t-meter."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

from collector.operate.lab import Lab, Namespace, wait_for
from tests.lib import mirrored
from tests.lib.hosttraffic import connection, conversation, exchange, pings
from tests.lib.rig import COLLECTOR, STATUS_HOOK, VNI, Collector, Figures, collector, take_xdp_frames, vxlan
from tests.lib.rig6 import COLLECTOR6
from tests.lib.tap import Tap, is_outer, send

ADMIN, ADMIN6, T_METER = "192.0.2.9", "2001:db8:1::9", "192.0.2.2"
NEW_ADDRESS, NEW_MAC = "192.0.2.50", "02:00:00:00:0f:09"
OTHER_VNI = 13
SSH_TEXT = b"SSH-2.0-test\r\n" * 300
OTHER = IP(src=mirrored.PHONE_IP, dst=mirrored.PBX_IP)


@dataclass
class OneNic:
    """The collector, an administrator and the t-meter at one switch, which is the mirror, too."""

    hook: str
    tool: Collector
    switch: Namespace
    admin: Namespace
    t_meter: Namespace

    @property
    def host(self) -> Namespace:
        return self.tool.namespace

    @property
    def mac(self) -> str:
        return self.host.mac("eth0")

    def apply(self, **keys: object) -> str:
        return self.tool.apply([
            {"name": "pbx", "type": "span", "interface": "eth0", "shared": True, "hook": self.hook, **keys}
        ])  # fmt: skip

    def mirror(self, *frames: bytes) -> None:
        """What the switch copies to the collector's port."""
        send(self.switch, "collector", frames)

    def all_mirrored(self, frames: list[bytes], vni: int = VNI) -> None:
        with self.tap(vni) as tap:
            self.mirror(*frames)
            assert sorted(tap.wait(len(frames))) == sorted(frames)

    def tap(self, vni: int = VNI) -> Tap:
        """What the t-meter's kernel takes out of VXLAN, without the machines' own broadcasts, which are
        mirrored, too."""
        return Tap(self.t_meter, f"vx{vni}", lambda frame: frame[6:12].hex(":") == mirrored.PHONE)

    def forget(self) -> None:
        """The administrator's machine has to ask for the collector's MAC address again."""
        for address in (COLLECTOR, COLLECTOR6):
            self.admin.run(["ip", "neigh", "flush", "to", address, "dev", "eth0"])


def to_t_meter(frame: bytes) -> bool:
    return is_outer(frame) and frame[30:34] == socket.inet_aton(T_METER)


@contextmanager
def one_nic(hook: str) -> Iterator[OneNic]:
    with Lab() as lab:
        names = ("switch", "collector", "admin", "tmeter")
        switch, here, admin, t_meter = (lab.namespace(name, ipv6=name in names[1:3]) for name in names)
        for machine in (here, admin, t_meter):
            machine.link("eth0", switch, machine.name)
        here.address("eth0", f"{COLLECTOR}/24")
        here.address("eth0", f"{COLLECTOR6}/64")
        admin.address("eth0", f"{ADMIN}/24")
        admin.address("eth0", f"{ADMIN6}/64")
        t_meter.address("eth0", f"{T_METER}/24")
        switch.bridge("br0", names[1:])
        take_xdp_frames(switch, "collector")
        for vni in (VNI, OTHER_VNI):
            vxlan(t_meter, vni)
        with collector(here) as tool:
            yield OneNic(hook, tool, switch, admin, t_meter)


@pytest.fixture(scope="module", params=["xdp", "tc"])
def nic(request: pytest.FixtureRequest) -> Iterator[OneNic]:
    with one_nic(request.param) as nic:
        nic.apply()
        yield nic


def link(destination: str) -> Packet:
    return Ether(src=mirrored.PHONE, dst=destination)


def test_an_open_connection_survives_apply_apply_again_and_remove(nic: OneNic) -> None:
    nic.tool.command("remove")
    with (
        connection(nic.admin, nic.host, COLLECTOR) as ssh,
        connection(nic.admin, nic.host, COLLECTOR6) as ssh6,
    ):
        for vni in (VNI, OTHER_VNI, OTHER_VNI):
            assert exchange(ssh, SSH_TEXT)
            assert exchange(ssh6, SSH_TEXT)
            nic.apply(vni=vni)
            nic.all_mirrored(list(mirrored.numbered(50, (60, 214, 1514), flows=5)), vni)
        assert nic.tool.status().source()["hook"] == STATUS_HOOK[nic.hook]
        nic.tool.command("remove")
        assert exchange(ssh, SSH_TEXT)
        assert exchange(ssh6, SSH_TEXT)
    nic.apply()


def test_arp_and_neighbour_discovery_reach_the_host(nic: OneNic) -> None:
    """The administrator has to ask where the host is, and the host where the administrator is."""
    nic.forget()
    assert pings(nic.admin, COLLECTOR)
    nic.forget()
    assert conversation(nic.admin, nic.host, COLLECTOR6, SSH_TEXT)
    for address in (ADMIN, ADMIN6):
        nic.host.run(["ip", "neigh", "flush", "to", address, "dev", "eth0"])
    assert conversation(nic.admin, nic.host, COLLECTOR, SSH_TEXT)
    assert conversation(nic.admin, nic.host, COLLECTOR6, SSH_TEXT)


@pytest.mark.usefixtures("way_out")
@pytest.mark.parametrize("way_out", ["with a way out"], indirect=True)
def test_an_address_that_the_host_gets_later_is_its_own_at_once(nic: OneNic) -> None:
    nic.host.address("eth0", f"{NEW_ADDRESS}/24")
    assert pings(nic.admin, NEW_ADDRESS)


def test_a_neighbour_that_says_it_has_moved_is_believed(nic: OneNic) -> None:
    assert pings(nic.admin, COLLECTOR)
    moved = ARP(op="who-has", hwsrc=NEW_MAC, psrc=ADMIN, hwdst="00:00:00:00:00:00", pdst=ADMIN)
    send(nic.admin, "eth0", [bytes(Ether(src=NEW_MAC, dst=mirrored.BROADCAST) / moved)])
    wait_for(lambda: mac_of(nic.host, ADMIN) == NEW_MAC, "the administrator's new MAC address")
    nic.host.run(["ip", "neigh", "flush", "to", ADMIN, "dev", "eth0"])
    assert pings(nic.admin, COLLECTOR)


def mac_of(machine: Namespace, address: str) -> str:
    found = [each for each in machine.ipr.get_neighbours() if each.get_attr("NDA_DST") == address]
    return str(found[0].get_attr("NDA_LLADDR")) if found else ""


def dhcp_offer(client: str) -> bytes:
    message = BOOTP(op=2, chaddr=bytes.fromhex(client.replace(":", "")), yiaddr="192.0.2.60")
    udp = IP(src="192.0.2.253", dst="255.255.255.255") / UDP(sport=67, dport=68)
    return bytes(link(mirrored.BROADCAST) / udp / message / DHCP(options=[("message-type", "offer"), "end"]))


def test_the_hosts_dhcp_answers_reach_it_and_those_of_others_are_mirrored(nic: OneNic) -> None:
    ours, theirs = dhcp_offer(nic.mac), dhcp_offer(mirrored.PHONE)
    with udp_socket(nic.host, 68) as client:
        nic.all_mirrored([theirs])
        nic.mirror(ours)
        assert client.recv(2000) == ours[42:]
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(2000)


@contextmanager
def udp_socket(machine: Namespace, port: int) -> Iterator[socket.socket]:
    with machine.enter():
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listening:
        listening.bind(("", port))
        listening.settimeout(5)
        yield listening


def foreign(nic: OneNic) -> dict[str, bytes]:
    """Mirrored frames that a host might be tempted to answer."""
    solicit = ICMPv6ND_NS(tgt="2001:db8:1::77") / ICMPv6NDOptSrcLLAddr(lladdr=mirrored.PHONE)
    mac = nic.mac
    frames: dict[str, Packet] = {
        "ping to our address, for another MAC": link(mirrored.PBX) / IP(src=ADMIN, dst=COLLECTOR) / ICMP(),
        "ping6 to our address, for another MAC": (
            link(mirrored.PBX) / IPv6(src=ADMIN6, dst=COLLECTOR6) / ICMPv6EchoRequest()
        ),
        "SIP to our address, for another MAC": (
            link(mirrored.PBX) / IP(src=ADMIN, dst=COLLECTOR) / UDP(sport=5060, dport=5060) / Raw(b"x" * 50)
        ),
        "ARP for another": link(mirrored.BROADCAST) / ARP(psrc=mirrored.PHONE_IP, pdst=mirrored.PBX_IP),
        "ND for another": (
            link("33:33:ff:00:00:77") / IPv6(src="2001:db8:1::66", dst="ff02::1:ff00:77", hlim=255) / solicit
        ),
        "broadcast": (
            link(mirrored.BROADCAST)
            / IP(src=mirrored.PHONE_IP, dst="255.255.255.255")
            / UDP(sport=5060, dport=5060)
            / Raw(b"x" * 50)
        ),
        "multicast": (
            link("01:00:5e:00:01:4b") / IP(src=mirrored.PHONE_IP, dst="224.0.1.75") / UDP() / Raw(b"y" * 50)
        ),
        "our MAC, another's IPv4": link(mac) / OTHER / UDP(sport=5060, dport=5060) / Raw(b"z" * 50),
        "our MAC, another's TCP": link(mac) / OTHER / TCP(sport=1024, dport=22, flags="S"),
        "our MAC, another's IPv6": (
            link(mac)
            / IPv6(src="2001:db8:9::1", dst="2001:db8:9::2")
            / UDP(sport=1, dport=2)
            / Raw(b"6" * 50)
        ),
        "our MAC, a ping to another": link(mac) / OTHER / ICMP() / Raw(b"p" * 50),
        "our MAC and address behind a tag": (
            link(mac) / Dot1Q(vlan=20) / IP(src=ADMIN, dst=COLLECTOR) / ICMP() / Raw(b"t" * 50)
        ),
        "oversize, our MAC": link(mac) / OTHER / UDP(sport=3, dport=4) / Raw(b"L" * 1472),
    }
    return {name: bytes(frame) for name, frame in frames.items()}


@pytest.fixture(params=["with a way out", "on an island"])
def way_out(request: pytest.FixtureRequest, nic: OneNic) -> Iterator[str]:
    """Whether the host has default routes."""
    routes = [("0.0.0.0/0", ADMIN), ("::/0", ADMIN6)] if request.param == "with a way out" else []
    for destination, gateway in routes:
        nic.host.route(destination, gateway)
    nic.apply()  # sees them
    yield request.param
    for destination, gateway in routes:
        nic.host.ipr.route("del", dst=destination, gateway=gateway)
    nic.apply()


@pytest.mark.usefixtures("way_out")
def test_what_is_not_the_hosts_is_mirrored_and_never_answered(nic: OneNic) -> None:
    """Also frames to its MAC address for other IP addresses: that is how GCP mirrors packets."""
    frames = foreign(nic)
    before = nic.tool.status()
    with (
        udp_socket(nic.host, 5060) as sip,
        Tap(nic.switch, "collector", lambda frame: not to_t_meter(frame)) as answers,
        nic.tap() as tap,
    ):
        for number, (name, frame) in enumerate(frames.items(), start=1):
            nic.mirror(frame)
            assert (name, tap.wait(number)[-1].hex()) == (name, frame.hex())
        assert pings(nic.admin, COLLECTOR)  # what it says now it says after all that it might have answered
        sip.setblocking(False)
        with pytest.raises(BlockingIOError):
            sip.recv(2000)
        assert [frame.hex() for frame in answers.frames() if concerns(frame)] == []
    after = nic.tool.status()
    assert after.source()["frames"] - before.source()["frames"] >= len(frames)
    assert after.drops == before.drops


def concerns(frame: bytes) -> bool:
    """Whether it is for the phone or the PBX, or names one of their addresses."""
    macs = {mirrored.PHONE, mirrored.PBX}
    names = [socket.inet_aton(mirrored.PHONE_IP), socket.inet_aton(mirrored.PBX_IP)]
    return frame[:6].hex(":") in macs or any(name in frame for name in names)


def test_every_frame_that_the_nic_receives_is_counted_once(nic: OneNic) -> None:
    """Mirrored, passed or dropped, with a conversation of the host's in between."""
    before, came = settled(nic)
    frames = list(mirrored.numbered(3000, (60, 214, 1400, 1514), flows=50))
    with connection(nic.admin, nic.host, COLLECTOR) as ssh:
        for at in range(0, len(frames), 300):
            nic.mirror(*frames[at : at + 300])
            assert exchange(ssh, SSH_TEXT)
    after, now = settled(nic)
    assert after.frames - before.frames >= len(frames)
    assert after.passed - before.passed > 0
    assert after.frames + after.passed - before.frames - before.passed == now - came
    assert after.frames - before.frames == after.sent - before.sent
    assert after.drops == before.drops


def settled(nic: OneNic) -> tuple[Figures, int]:
    """The status, and the frames that the NIC has received, at a moment at which neither was changing."""
    seen = [nic.tool.status()]
    while True:
        received = nic.host.stats("eth0")["rx_packets"]
        seen.append(nic.tool.status())
        if (seen[-1].frames, seen[-1].passed) == (seen[-2].frames, seen[-2].passed):
            return seen[-1], received
