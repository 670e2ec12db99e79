"""What somebody takes away or changes by hand is put back, said and counted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.lib.agent import Agent, agent_of
from tests.lib.box import Box
from tests.lib.fault import Fault
from tests.lib.snapshot import link_ids

AUDIT = "agent.AUDIT=0.3"
REPAIRED = "somebody took away or changed what was applied; it is put back:"
REPAIRS = "collector_drift_repairs_total"


@pytest.fixture
def agent(box: Box) -> Iterator[Agent]:
    with agent_of(box, AUDIT) as agent:
        agent.start()
        yield agent


def detach(box: Box, pin: str) -> None:
    """As `bpftool link detach` does."""
    box.host.run(["bpftool", "link", "detach", "id", str(link_ids(box.pins)[pin])])


def test_what_is_taken_away_is_put_back(box: Box, agent: Agent) -> None:
    """One after the other, each of which is one repair."""
    eth1, eth0 = box.host.index("eth1"), box.host.index("eth0")

    def repaired(words: str, count: int) -> None:
        agent.says(REPAIRED, words)
        agent.becomes(lambda status: status["healthy"], "all to be well")
        assert box.forwarded() == 12
        assert agent.metric(REPAIRS) == count

    detach(box, f"xdp_{eth1}")
    repaired("attach collector_xdp to eth1 at XDP (native)", 1)
    detach(box, f"tc_{eth1}")
    repaired("attach collector_tc to eth1 at tc ingress", 2)
    detach(box, f"xdp_{eth0}")
    repaired("attach collector_pass to eth0 at XDP (native)", 3)
    box.host.run(["ip", "link", "del", "collector-tx"])
    repaired("create the splitter", 4)
    box.host.run(["ip", "link", "set", "eth1", "promisc", "off"])
    repaired("set eth1 promiscuous: off -> on", 5)
    box.host.run(["ip", "link", "set", "eth1", "down"])
    repaired("set eth1 up: off -> on", 6)
    box.host.run(["ethtool", "-K", "eth1", "rxvlan", "on"])
    repaired("set eth1 rx-vlan-hw-parse: on -> off", 7)
    box.host.sysctl("net.ipv4.conf.lo.forwarding", 0)
    repaired("set lo ipv4.forwarding: 0 -> 1", 8)
    box.host.run(["ip", "neigh", "flush", "all"])
    repaired("keep 192.0.2.2 resolved (ARP)", 9)
    (box.pins / f"xdp_{eth1}").unlink()
    repaired("attach collector_xdp to eth1 at XDP (native)", 10)
    for pin in box.pins.glob("tc_*"):
        pin.unlink()
    repaired("attach collector_tc to the splitter at tc ingress", 11)
    assert agent.source()["frames"] == 11

    (box.pins / "notes").unlink()
    agent.says("replace the program", "switch eth1")
    agent.becomes(lambda status: status["healthy"], "all to be well")
    assert box.forwarded() == 12
    shutil.rmtree(box.pins)
    agent.says("load the program: pbx to ohio (192.0.2.2)")
    agent.becomes(lambda status: status["configured"] and status["healthy"], "all to be well")
    assert box.forwarded() == 12
    assert agent.source()["frames"] == 1


def test_a_filter_and_its_qdisc_are_put_back_on_an_old_kernel(box: Box) -> None:
    box.write(("vni: 12", "vni: 12, hook: tc"))
    with agent_of(box, AUDIT, "old-kernel") as agent:
        agent.start()
        commands = ("tc filter del dev eth1 ingress", "tc qdisc del dev eth1 clsact")
        for count, command in enumerate(commands, start=1):
            box.host.run(command.split())
            agent.says(REPAIRED, "attach collector_tc to eth1 at tc ingress")
            agent.becomes(lambda status: status["healthy"], "all to be well")
            assert box.forwarded() == 12
            assert agent.metric(REPAIRS) == count
        agent.stop()
        assert box.quick("remove", fault=Fault(tcx=False)).code == 0


def test_what_is_changed_by_our_own_commands_is_no_drift(box: Box, agent: Agent) -> None:
    box.write(("vni: 12", "vni: 13"))
    box.good("apply")
    agent.says("the agent follows what was applied by hand")
    assert box.forwarded() == 13
    box.good("remove")
    agent.says("the agent does nothing more: it was removed by hand (collector remove)")
    agent.becomes(lambda status: not status["configured"], "nothing to be configured")
    box.good("apply")
    agent.says("the agent follows what was applied by hand")
    assert box.forwarded() == 13
    assert agent.metric(REPAIRS) == 0
    assert [line for line in agent.log() if line == REPAIRED] == []
