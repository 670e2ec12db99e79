"""The agent follows the way to the t-meter: routes, gateways, addresses, neighbours, and its name."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collector.operate.lab import Lab, Namespace, wait_for
from tests.lib.agent import Agent, agent_of, agent_of_rig
from tests.lib.box import Box
from tests.lib.fault import Faulty
from tests.lib.rig import FAR_T_METER, GATEWAY, Rig, behind_gateway, take_xdp_frames
from tests.lib.tap import Tap, is_outer
from tests.netns.test_names import KNOWN, NAME, PRIVATE
from tests.netns.test_world import neighbour

NO_ROUTE = "the t-meter 'ohio' (192.0.2.2) cannot be reached: this host has no route to it"


def test_frames_flow_as_soon_as_this_host_has_an_address(bare_box: Box) -> None:
    box = bare_box
    box.switch.link("span0", box.host, "eth1")
    box.host.link("eth0", box.tmeter, "eth0")
    box.tmeter.address("eth0", "192.0.2.2/24")
    box.tmeter.features("eth0", {"rx-gro": True})
    with agent_of(box) as agent:
        agent.start()
        agent.says(NO_ROUTE)
        assert agent.status()["healthy"] is False
        assert agent.get("/readyz")[0] == 503
        box.host.address("eth0", "192.0.2.1/24")
        agent.says(f"no longer: {NO_ROUTE}")
        assert box.forwarded() == 12
        assert agent.get("/readyz") == (200, "fine\n")


def test_a_cable_that_is_pulled_is_said_before_any_probe_fails(box: Box) -> None:
    pulled = "t-meter ohio: eth0 has no link; is the cable in?"
    with agent_of(box) as agent:
        agent.start()
        box.tmeter.run(["ip", "link", "set", "eth0", "down"])
        agent.says(pulled, timeout=8)
        assert (agent.t_meter()["up"], agent.t_meter()["why"]) == (False, pulled.partition(": ")[2])
        box.tmeter.run(["ip", "link", "set", "eth0", "up"])
        agent.says(f"no longer: {pulled}")
        assert box.forwarded() == 12


def outer_sources(box: Box) -> set[str]:
    """The addresses that a frame's outer packets come from now."""
    with Tap(box.tmeter, "eth0", is_outer) as tap:
        box.forwarded()
        return {socket.inet_ntoa(packet[26:30]) for packet in tap.wait(1)}


def test_an_address_of_this_host_that_changes_and_a_neighbour_that_is_deleted(box: Box) -> None:
    with agent_of(box) as agent:
        agent.start()
        assert outer_sources(box) == {"192.0.2.1"}
        box.host.run(["ip", "address", "del", "192.0.2.1/24", "dev", "eth0"])
        agent.says(NO_ROUTE)
        box.host.run(["ip", "address", "add", "192.0.2.9/24", "dev", "eth0"])
        agent.says("replace the program", f"no longer: {NO_ROUTE}")
        assert outer_sources(box) == {"192.0.2.9"}
        assert agent.metric("collector_drift_repairs_total") == 0

        box.host.run(["ip", "neigh", "del", "192.0.2.2", "dev", "eth0"])
        agent.says("somebody took away or changed what was applied", "keep 192.0.2.2 resolved (ARP)")
        wait_for(lambda: neighbour(box.host, "192.0.2.2").mac == box.tmeter.mac("eth0"), "its address")
        assert box.forwarded() == 12
        assert agent.metric("collector_drift_repairs_total") == 1


@contextmanager
def second_gateway(rig: Rig) -> Iterator[Namespace]:
    """198.51.100.254, at the NIC eth2 of the collector."""
    with Lab() as lab:
        other = lab.namespace("other")
        rig.collector.link("eth2", other, "eth0")
        other.address("eth0", "198.51.100.254/24")
        rig.collector.address("eth2", "198.51.100.1/24")
        take_xdp_frames(other, "eth0")
        yield other


@pytest.mark.parametrize("hook", ["auto", "tc"])
def test_another_gateway_on_another_nic(hook: str, faulty: Faulty) -> None:
    frame = bytes.fromhex("020000000002 020000000001 88b5") + b"a frame".ljust(60)
    with behind_gateway(hook) as rig, second_gateway(rig) as other, agent_of_rig(rig, faulty) as agent:
        assert rig.gateway
        t_meters = [{"name": "tm", "address": FAR_T_METER, "probe": "none"}]
        rig.tool.file.write_text(json.dumps({"version": 1, "sources": [rig.span()], "t_meters": t_meters}))
        agent.start()
        with Tap(rig.gateway, "eth0", is_outer) as first, Tap(other, "eth0", is_outer) as second:
            rig.send(frame)
            first.wait(1)
            rig.collector.run(["ip", "route", "replace", "default", "via", "198.51.100.254"])
            agent.says("keep 198.51.100.254 resolved (ARP)", f"keep {GATEWAY} resolved no longer")
            rig.send(frame)
            assert [packet[26:30] for packet in second.wait(1)] == [socket.inet_aton("198.51.100.1")]
            assert len(first.frames()) == 1
        assert agent.source()["hook"] == ("tc" if hook == "tc" else "xdp-native")
        assert agent.t_meter()["frames"] == 2


# Names


@contextmanager
def by_name(box: Box, hosts: str) -> Iterator[tuple[Agent, Path]]:
    """With an /etc/hosts of its own, that the test may write to, and no DNS."""
    folder = box.file.parent / "etc"
    folder.mkdir()
    (folder / "hosts").write_text(hosts)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    box.write(*KNOWN)
    box.tmeter.address("eth0", "192.0.2.3/24")
    prefix = ("unshare", "--mount", "sh", "-e", "-c", PRIVATE, str(folder))
    with agent_of(box, "names.AGAIN=0.2", "names.RETRY=0.2", prefix=prefix) as agent:
        agent.start()
        yield agent, folder / "hosts"


def test_a_name_that_resolves_anew_fails_and_comes_back(box: Box) -> None:
    with by_name(box, f"192.0.2.2 {NAME}\n") as (agent, hosts):
        agent.becomes(lambda status: bool(status["t_meters"]), "an address")
        assert agent.t_meter()["address"] == "192.0.2.2"
        assert box.forwarded() == 12

        hosts.write_text(f"192.0.2.3 {NAME}\n")
        agent.says("replace the program: pbx to ohio (192.0.2.3)")
        assert box.forwarded() == 12

        hosts.write_text("127.0.0.1 localhost\n")
        lost = f"the t-meter's name {NAME} cannot be resolved: "
        agent.becomes(lambda status: any(each.startswith(lost) for each in status["notices"]), "the loss")
        assert box.forwarded() == 12
        assert (agent.t_meter()["address"], agent.status()["healthy"]) == ("192.0.2.3", True)

        hosts.write_text(f"192.0.2.2 {NAME}\n")
        agent.says("replace the program: pbx to ohio (192.0.2.2)")
        agent.becomes(lambda status: status["notices"] == [], "nothing to say")
        assert (agent.source()["frames"], agent.t_meter()["frames"]) == (3, 3)

        hosts.write_text(f"192.0.2.2 {NAME}\n192.0.2.3 other.example.com\n")
        box.write((KNOWN[0][0], "other.example.com"))
        agent.hang_up()
        agent.says("replace the program: pbx to ohio (192.0.2.3)")
        assert box.forwarded() == 12


def test_a_name_that_is_not_known_yet_is_waited_for(box: Box) -> None:
    with by_name(box, "127.0.0.1 localhost\n") as (agent, hosts):
        agent.says(f"the t-meter's name {NAME} cannot be resolved: ")
        assert agent.status()["healthy"] is False
        hosts.write_text(f"192.0.2.2 {NAME}\n")
        agent.says("load the program: pbx to ohio (192.0.2.2)")
        assert box.forwarded() == 12
