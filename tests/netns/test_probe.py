"""Probes, and ICMP errors for outer packets that no socket has sent, between real namespaces."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6PacketTooBig, IPv6
from scapy.packet import Raw

from collector.control.patherrors import PathError, PathErrors
from collector.control.probe import Prober, ProbeResult, Target
from collector.datapath import icmp, nicstats
from collector.datapath.settings import Address, Oversize, TMeter
from collector.datapath.tmeter import find_route
from collector.operate.lab import Lab, Namespace, wait_for
from tests.lib import mirrored
from tests.lib.rig import COLLECTOR, FAR_T_METER, GATEWAY, VNI, Rig, behind_gateway
from tests.lib.rig6 import COLLECTOR6, FAR_T_METER6, GATEWAY6, behind_gateway6

HOOKS = pytest.mark.parametrize("hook", ["xdp", "tc"])
NEAR, FAR = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "192.0.2.2", 6: "2001:db8::2"}
VERSIONS = pytest.mark.parametrize("version", [4, 6])
PLENTY = 1000


class Changes:
    """Counts the calls that a part makes when it has news."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    """The collector's machine and the t-meter's, on one cable."""
    with Lab() as lab:
        here, t_meter = lab.namespace("collector", ipv6=True), lab.namespace("tmeter", ipv6=True)
        here.link("eth0", t_meter, "eth0")
        for version, prefix in ((4, 24), (6, 64)):
            here.address("eth0", f"{NEAR[version]}/{prefix}")
            t_meter.address("eth0", f"{FAR[version]}/{prefix}")
        yield here, t_meter


@contextmanager
def prober(
    where: Namespace, address: str, probe: str, *, interval: float = 0.05, timeout: float = 0.2
) -> Iterator[Prober]:
    changes = Changes()
    with where.enter():
        probing = Prober(Target(ip_address(address), probe), changes, interval=interval, timeout=timeout)
    try:
        yield probing
    finally:
        probing.stop()


def becomes(probing: Prober, up: bool | None) -> ProbeResult:
    wait_for(lambda: probing.result.up is up, f"the probe to say {up}")
    return probing.result


@VERSIONS
def test_a_t_meter_that_answers_ping_is_up_and_down_when_it_falls_silent(
    pair: tuple[Namespace, Namespace], version: int
) -> None:
    here, t_meter = pair
    ignore = "net.ipv4.icmp_echo_ignore_all" if version == 4 else "net.ipv6.icmp.echo_ignore_all"
    with prober(here, FAR[version], "icmp") as probing:
        up = becomes(probing, True)
        assert (up.failures, up.words) == (0, "")
        assert up.round_trip_seconds is not None
        assert 0 < up.round_trip_seconds < 0.2
        t_meter.sysctl(ignore, 1)
        down = becomes(probing, False)
        assert down.words == (
            f"{FAR[version]} does not answer ping (3 times in a row, or more); many firewalls drop ping: if "
            "frames arrive there, set `probe: none` or `probe: tcp:PORT`"
        )
        assert down.since > up.since
        t_meter.sysctl(ignore, 0)
        assert becomes(probing, True).words == ""


@VERSIONS
def test_a_tcp_port_that_takes_connections_is_up_and_a_closed_one_is_down(
    pair: tuple[Namespace, Namespace], version: int
) -> None:
    here, t_meter = pair
    with t_meter.enter():
        listening = socket.create_server(
            (FAR[version], 443), family=socket.AF_INET if version == 4 else socket.AF_INET6
        )
    with prober(here, FAR[version], "tcp:443") as probing:
        with listening:
            assert becomes(probing, True).words == ""
        assert becomes(probing, False).words == (
            f"{FAR[version]} is there, but nothing listens on its TCP port 443 (3 times in a row, or more); "
            "start what should listen there, or correct the port in `probe`"
        )


def test_a_tcp_port_that_does_not_answer_is_down(pair: tuple[Namespace, Namespace]) -> None:
    here, _ = pair
    here.neighbour("eth0", FAR[4], "02:00:00:00:00:99")  # a switch would send that to nobody
    with prober(here, FAR[4], "tcp:443") as probing:
        assert becomes(probing, False).words == (
            f"{FAR[4]} does not answer on TCP port 443 (3 times in a row, or more); is it switched on, and "
            "do the firewalls on the way let TCP to that port pass?"
        )


@pytest.mark.parametrize("probe", ["icmp", "tcp:443"])
def test_no_route_is_down(pair: tuple[Namespace, Namespace], probe: str) -> None:
    with prober(pair[0], "203.0.113.10", probe) as probing:
        assert becomes(probing, False).words == (
            "This machine has no route to 203.0.113.10 (3 times in a row, or more)"
        )


def test_a_neighbour_that_is_not_there_is_down(pair: tuple[Namespace, Namespace]) -> None:
    here, _ = pair
    here.sysctl("net.ipv4.neigh.eth0.retrans_time_ms", 10)
    with prober(here, "192.0.2.77", "icmp") as probing:
        assert becomes(probing, False).words.startswith("192.0.2.77 ")


def test_a_new_target_is_probed_at_once_and_the_old_one_forgotten(pair: tuple[Namespace, Namespace]) -> None:
    with prober(pair[0], FAR[4], "icmp", interval=PLENTY) as probing:
        becomes(probing, True)
        probing.set_target(Target(ip_address(FAR[4]), "none"))
        assert (probing.result.up, probing.result.words) == (None, "")
        probing.set_target(Target(ip_address(FAR[6]), "icmp"))
        becomes(probing, True)
        probing.set_target(None)
        assert probing.result.up is None


def test_stopping_does_not_wait_for_an_answer(pair: tuple[Namespace, Namespace]) -> None:
    here, t_meter = pair
    t_meter.sysctl("net.ipv4.icmp_echo_ignore_all", 1)
    before = threading.active_count()
    with prober(here, FAR[4], "icmp", timeout=PLENTY):
        wait_for(lambda: snmp_echos(t_meter) > 0, "the ping to arrive")
    assert threading.active_count() == before


def snmp_echos(machine: Namespace) -> int:
    with machine.enter():
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(dict(zip(names, values, strict=True))["InEchos"])


def raw_icmp(machine: Namespace, version: int) -> socket.socket:
    with machine.enter():
        if version == 4:
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        return socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)


def next_packet(raw: socket.socket) -> tuple[bytes, Address]:
    received: list[tuple[bytes, Address]] = []

    def came() -> bool:
        if one := icmp.receive(raw):
            received.append(one)
        return bool(received)

    wait_for(came, "a packet")
    return received[0]


@VERSIONS
def test_a_ping_of_others_and_a_forged_reply_do_not_count(
    pair: tuple[Namespace, Namespace], version: int
) -> None:
    """The forged one has the right address, identifier and sequence, but not the payload."""
    here, t_meter = pair
    request = icmp.echo_request(version, 1, 2, b"payload of ours.")
    kinds = ICMP(type=0, id=1, seq=2) if version == 4 else ICMPv6EchoReply(id=1, seq=2)
    reply = bytes(kinds / Raw(b"payload of ours!"))
    with here.enter():
        waiting = icmp.open_echo(ip_address(FAR[version]))
    with waiting, raw_icmp(t_meter, version) as forger:
        forger.sendto(request, (NEAR[version], 0))  # a ping: filtered in the kernel
        forger.sendto(reply, (NEAR[version], 0))
        packet, sender = next_packet(waiting)
        assert sender == ip_address(FAR[version])
        assert packet.endswith(b"payload of ours!")
        assert not icmp.answers(version, packet, request)
        assert icmp.receive(waiting) is None


# Errors for outer packets, which no socket of this host has sent


def t_meter_of(source: str, address: str) -> TMeter:
    return TMeter("tm", ip_address(source), ip_address(address), 4789, 1500, Oversize.FRAGMENT, 0)


@contextmanager
def listening(
    where: Namespace, source: str, address: str, *, quiet: float = 0.01
) -> Iterator[tuple[PathErrors, Changes]]:
    changes = Changes()
    with where.enter():
        errors = PathErrors(t_meter_of(source, address), changes, quiet=quiet)
    try:
        yield errors, changes
    finally:
        errors.stop()


def provoke(rig: Rig, errors: PathErrors, kind: str, size: int = 200) -> PathError:
    """Sends frames until the error has come: routers limit how many they send."""
    frames = mirrored.numbered(PLENTY, (size,))

    def told() -> bool:
        rig.send(next(frames))
        return kind in errors.seen

    wait_for(told, f"an ICMP error, {kind}")
    return errors.seen[kind]


@contextmanager
def without_a_listener(hook: str, version: int) -> Iterator[tuple[Rig, PathErrors, Changes]]:
    source, address, build = (
        (COLLECTOR, FAR_T_METER, behind_gateway)
        if version == 4
        else (COLLECTOR6, FAR_T_METER6, behind_gateway6)
    )
    with build(hook) as rig:
        rig.apply(address=address)
        rig.t_meter.ipr.link("del", index=rig.t_meter.index(f"vx{VNI}"))
        with listening(rig.collector, source, address) as (errors, changes):
            yield rig, errors, changes


@HOOKS
@VERSIONS
def test_a_t_meter_without_a_listener_is_named(hook: str, version: int) -> None:
    address = FAR_T_METER if version == 4 else FAR_T_METER6
    with without_a_listener(hook, version) as (rig, errors, changes):
        told = provoke(rig, errors, icmp.PORT_UNREACHABLE)
        assert (told.reporter, told.mtu) == (address, None)
        assert told.words == (
            f"{address} answers that nothing listens on its UDP port 4789: start the t-meter, or "
            "correct `port`"
        )
        wait_for(lambda: changes.count > 0, "the news")
        assert set(errors.seen) == {icmp.PORT_UNREACHABLE}


@HOOKS
def test_a_narrow_ipv6_path_is_named_and_the_kernel_does_not_learn_it(hook: str) -> None:
    with without_a_listener(hook, 6) as (rig, errors, _):
        assert rig.gateway
        rig.gateway.ipr.link("set", index=rig.gateway.index("eth1"), mtu=1300)
        told = provoke(rig, errors, icmp.FRAGMENTATION_NEEDED, 1400)
        assert (told.reporter, told.mtu) == (GATEWAY6, 1300)
        assert told.words == (
            f"{GATEWAY6} says that packets over 1300 bytes do not pass: the way to {FAR_T_METER6} is "
            "narrower than 1500; give the route to it mtu 1300, and run: collector apply"
        )
        assert find_route(rig.collector.ipr, ip_address(FAR_T_METER6)).path_mtu == 1500


@HOOKS
def test_a_t_meter_that_is_switched_off_is_named_by_its_router(hook: str) -> None:
    with without_a_listener(hook, 4) as (rig, errors, _):
        assert rig.gateway
        rig.gateway.sysctl("net.ipv4.neigh.eth1.retrans_time_ms", 10)
        rig.t_meter.down("eth0")
        told = provoke(rig, errors, icmp.HOST_UNREACHABLE)
        assert told.reporter == GATEWAY
        assert told.words == (
            f"{GATEWAY} says that {FAR_T_METER} does not answer in its own network: is it switched on, and "
            "is `address` right?"
        )


def quoting(version: int, mtu: int, *, port: int = 4789, source_port: int = 50000) -> bytes:
    """A forged error: `mtu` is what would pass."""
    udp = UDP(sport=source_port, dport=port) / Raw(bytes(16))
    if version == 4:
        return bytes(ICMP(type=3, code=4, nexthopmtu=mtu) / IP(src=NEAR[4], dst=FAR[4]) / udp)
    return bytes(ICMPv6PacketTooBig(mtu=mtu) / IPv6(src=NEAR[6], dst=FAR[6]) / udp)


@VERSIONS
def test_a_forged_error_changes_nothing_but_what_is_shown(
    pair: tuple[Namespace, Namespace], version: int
) -> None:
    here, t_meter = pair
    others = [
        quoting(version, 1300, port=4790),
        quoting(version, 1300, source_port=1024),
        quoting(version, 1300)[:20],
        icmp.echo_request(version, 1, 1, b"a ping"),
    ]
    with listening(here, NEAR[version], FAR[version]) as (errors, _), raw_icmp(t_meter, version) as forger:
        for packet in (*others, quoting(version, 1400)):
            forger.sendto(packet, (NEAR[version], 0))
        wait_for(lambda: errors.seen, "the error")
        told = errors.seen[icmp.FRAGMENTATION_NEEDED]
        assert (told.count, told.reporter, told.mtu) == (1, FAR[version], 1400)
        assert find_route(here.ipr, ip_address(FAR[version])).path_mtu == 1500
        same, other = t_meter_of(NEAR[version], FAR[version]), t_meter_of(NEAR[version], COLLECTOR)
        errors.set_target(replace(same, path_mtu=1400))
        assert set(errors.seen) == {icmp.FRAGMENTATION_NEEDED}
        errors.set_target(other)
        assert errors.seen == {}


def test_a_flood_of_errors_is_read_in_rounds(pair: tuple[Namespace, Namespace]) -> None:
    here, t_meter = pair
    with (
        listening(here, NEAR[4], FAR[4], quiet=PLENTY) as (errors, changes),
        raw_icmp(t_meter, 4) as forger,
    ):
        forger.sendto(quoting(4, 1400), (NEAR[4], 0))
        wait_for(lambda: changes.count == 1, "the first error")
        seen = errors.seen
        for _ in range(200):
            forger.sendto(quoting(4, 1400), (NEAR[4], 0))
        assert errors.seen is seen
    assert changes.count == 1


# What it may and may not do

CODE = """
from collector.control.patherrors import PathErrors
from collector.control.probe import Prober, Target
from collector.errors import HostError
from ipaddress import ip_address
import threading
try:
    PathErrors(None, print).stop()
except HostError as error:
    print(error)
known = threading.Event()
prober = Prober(Target(ip_address("{address}"), "icmp"), known.set, interval=0.01)
print(known.wait(10), prober.result.up, prober.result.words)
prober.stop()
"""


@pytest.mark.parametrize("allowed", [True, False])
def test_cap_net_raw_is_enough_and_is_needed(pair: tuple[Namespace, Namespace], allowed: bool) -> None:
    capability = "+net_raw" if allowed else "-net_raw"
    drop = ["setpriv", f"--bounding-set=-all,{capability}", f"--inh-caps=-all,{capability}"]
    done = pair[0].run([*drop, sys.executable, "-c", CODE.format(address=FAR[4])])
    why = "This process may not open an ICMP socket: it lacks CAP_NET_RAW"
    what_to_do = "Run it as root, or with AmbientCapabilities=CAP_NET_RAW in its unit."
    assert done.stdout == (
        "True True \n"
        if allowed
        else f"{why}\n  {what_to_do}\nTrue False {why} (3 times in a row, or more); {what_to_do}\n"
    )


def test_a_driver_that_counts_is_read_and_one_without_allowances_has_none(
    pair: tuple[Namespace, Namespace],
) -> None:
    here, _ = pair
    with here.enter():
        counted = nicstats.statistics("eth0")
        assert nicstats.allowances("eth0") == {}
        assert nicstats.statistics("lo") == nicstats.statistics("gone0") == {}
    lines = here.run(["ethtool", "-S", "eth0"]).stdout.splitlines()[1:]
    told = {name.strip(): int(value) for name, value in (line.split(":") for line in lines)}
    assert list(counted) == list(told)
    assert counted["peer_ifindex"] == told["peer_ifindex"]
