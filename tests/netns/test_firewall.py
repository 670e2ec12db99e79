"""The appliance's packet filter, by real packets: what the agent needs is let in, and nothing else."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Ether

from collector.operate.lab import Namespace, wait_for
from tests.lib import mirrored
from tests.lib.agent import PATIENCE, agent_of
from tests.lib.box import Box
from tests.lib.cloud import one_network
from tests.lib.follow import Follow
from tests.lib.hosttraffic import pings
from tests.lib.rig import COLLECTOR
from tests.lib.tap import Tap, inner, send

PEER_MAC = "02:00:00:00:00:77"
SSH, METRICS, OTHER = 22, 9747, 9748
FLAGS_SYN_ACK = 0x12


class Peer:
    """A machine beside `machine`, made of frames only, so that nothing of this kernel's answers for it."""

    def __init__(self, machine: Namespace, ifname: str, host: str) -> None:
        self._machine, self._ifname, self._host = machine, ifname, host
        network = host.rpartition(".")[0]
        self._address, self._other_address = f"{network}.77", f"{network}.78"
        self._ports = itertools.count(40000)

    def is_let_in(self, port: int) -> bool:
        """Frames stay in order: when the ARP request behind it is answered, so is it, or it never will be."""
        sport = next(self._ports)  # another each time: an earlier SYN may still be answered again
        syn = IP(src=self._address, dst=self._host) / TCP(sport=sport, dport=port, flags="S")
        with _on_one_cpu(), Tap(self._machine, self._ifname, _is_for_peer) as tap:
            mac = self._ask(tap, self._address)
            send(self._machine, self._ifname, [bytes(Ether(src=PEER_MAC, dst=mac) / syn)])
            self._ask(tap, self._other_address)
            segments = [each[TCP] for each in map(Ether, tap.frames()) if TCP in each]
        return [int(each.flags) for each in segments if each.dport == sport] == [FLAGS_SYN_ACK]

    def _ask(self, tap: Tap, address: str) -> str:
        """The host's MAC address; asked again and again, as a cable that was just put in takes its time."""
        ask = ARP(hwsrc=PEER_MAC, psrc=address, pdst=self._host)
        frame = bytes(Ether(src=PEER_MAC, dst="ff:ff:ff:ff:ff:ff") / ask)
        answers: list[str] = []

        def is_answered() -> bool:
            send(self._machine, self._ifname, [frame])
            found = [each for each in map(Ether, tap.frames()) if ARP in each and each[ARP].pdst == address]
            answers.extend(each.src for each in found)
            return bool(answers)

        wait_for(is_answered, "an answer to ARP")
        return answers[0]


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Each CPU has a queue of its own for what a veth brings: through one of them, frames stay in order."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _is_for_peer(frame: bytes) -> bool:
    packet = Ether(frame)
    return packet.dst == PEER_MAC and (TCP in packet or (ARP in packet and packet[ARP].op == 2))


@contextmanager
def listening(machine: Namespace, *ports: int) -> Iterator[None]:
    with ExitStack() as sockets:
        for port in ports:
            with machine.enter():
                sockets.enter_context(socket.create_server(("", port)))
        yield


def let_in(peer: Peer) -> list[int]:
    return [port for port in (SSH, METRICS, OTHER) if peer.is_let_in(port)]


@pytest.fixture
def follow(tmp_path: Path) -> Follow:
    return Follow(tmp_path)


def rules(machine: Namespace) -> str:
    return machine.run(["nft", "list", "ruleset"]).stdout


def test_ssh_is_let_in_and_what_the_configuration_listens_on(box: Box, follow: Follow) -> None:
    peer = Peer(box.tmeter, "eth0", "192.0.2.1")
    box.host.address("eth0", "192.0.2.3/24")
    beside = Peer(box.tmeter, "eth0", "192.0.2.3")
    folder = follow.needs.parent
    with (
        agent_of(box, prefix=("env", f"RUNTIME_DIRECTORY={folder}")) as agent,
        listening(box.host, SSH, OTHER),
    ):
        box.file.write_text("version: 1\n")
        agent.start()
        follow.start_filter(box.host)
        assert let_in(peer) == [SSH]

        box.write(("version: 1\n", 'version: 1\nmetrics: {listen: "192.0.2.1:9747"}\n'))
        agent.hang_up()
        wait_for(lambda: "9747" in follow.needs.read_text(), "the agent's needs", PATIENCE)
        with box.host.enter():
            follow()
        assert let_in(peer) == [SSH, METRICS]
        assert let_in(beside) == [SSH]
        assert list(follow.quiet()) == ["07-collector-quiet-eth1.network"]
        before = rules(box.host)
        follow.start_filter(box.host)
        assert rules(box.host) == before

        box.good("remove")
        wait_for(lambda: "9747" not in follow.needs.read_text(), "the agent to need nothing", PATIENCE)
        with box.host.enter():
            follow()
        assert (let_in(peer), follow.quiet()) == ([SSH], {})


def test_nothing_is_let_in_on_a_quiet_nic(box: Box, follow: Follow) -> None:
    """Not even where a person has given it an address."""
    box.host.address("eth1", "198.51.100.1/24")
    span, uplink = Peer(box.switch, "span0", "198.51.100.1"), Peer(box.tmeter, "eth0", "192.0.2.1")
    with listening(box.host, SSH, METRICS, OTHER):
        follow.start_filter(box.host)
        with box.host.enter():
            follow(listen=["0.0.0.0:9747"], quiet_nics=[])
        assert (let_in(span), let_in(uplink)) == ([SSH, METRICS], [SSH, METRICS])
        with box.host.enter():
            follow(listen=["0.0.0.0:9747"], quiet_nics=["eth1"])
        assert (let_in(span), let_in(uplink)) == ([], [SSH, METRICS])
        with box.host.enter():
            follow(listen=["[::]:9747"], quiet_nics=[])
        assert (let_in(span), let_in(uplink)) == ([SSH, METRICS], [SSH, METRICS])


def test_what_nft_refuses_leaves_the_rules_before_it(box: Box, follow: Follow) -> None:
    follow.start_filter(box.host)
    with box.host.enter():
        follow(listen=["192.0.2.1:9747"], quiet_nics=["eth1"])
    before, kept = rules(box.host), follow.rules.read_text()
    assert "ip daddr 192.0.2.1 tcp dport 9747 accept" in before
    with box.host.enter(), pytest.raises(SystemExit) as refused:
        follow(listen=["192.0.2.999:9747"], quiet_nics=["eth2"])
    assert refused.value.code == (
        f"nft did not take {follow.rules.with_suffix('.new')}: the rules before it stay."
    )
    assert (rules(box.host), follow.rules.read_text()) == (before, kept)
    follow.start_filter(box.host)
    assert rules(box.host) == before


def test_mirrored_frames_need_no_opening(follow: Follow) -> None:
    """The collector's program takes them before the filter does, which lets no VXLAN in."""
    mirror = mirrored.numbered(3, (100,))
    with one_network("xdp") as cloud, _vxlan_port(cloud.collector) as port:
        follow.start_filter(cloud.collector)
        cloud.apply()
        with cloud.uplink() as tap:
            frame = next(mirror)
            send(cloud.mirror, "vx17", [frame])
            assert [inner(each) for each in tap.wait(1)] == [frame]

        cloud.tool.command("remove")
        send(cloud.mirror, "vx17", [next(mirror)])
        assert pings(cloud.mirror, COLLECTOR)  # behind it, on the same cable
        with pytest.raises(BlockingIOError):
            port.recv(2000)
        cloud.collector.run(["nft", "flush", "ruleset"])
        frame = next(mirror)
        send(cloud.mirror, "vx17", [frame])
        assert pings(cloud.mirror, COLLECTOR)
        assert port.recv(2000)[8:] == frame


@contextmanager
def _vxlan_port(machine: Namespace) -> Iterator[socket.socket]:
    """A program that listens where VXLAN comes to."""
    with machine.enter():
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with port:
        port.bind(("", 4789))
        port.setblocking(False)
        yield port
