"""The agent follows the NICs of its sources: they come late, go, come back, are renamed, lose their link."""

from __future__ import annotations

import pytest

from tests.lib.agent import Agent, agent_of
from tests.lib.box import Box
from tests.netns.test_apply import QUEUES, mirror_with_many_queues

HOOKS = pytest.mark.parametrize("hook", ["auto", "tc"])
ABSENT = "source pbx: there is no interface eth1; it is used as soon as it comes"
NAMED = {"auto": "xdp-native", "tc": "tc"}


def counts(agent: Agent) -> tuple[int, int]:
    return agent.source()["frames"], agent.t_meter()["frames"]


def attached(agent: Agent) -> bool:
    status = agent.status()
    return bool(status["healthy"]) and all(each["hook"] != "none" for each in status["sources"])


@HOOKS
def test_a_nic_that_comes_late_goes_and_comes_back(bare_box: Box, hook: str) -> None:
    box = bare_box
    box.cable_uplink()
    box.write(("vni: 12", f"vni: 12, hook: {hook}"))
    with agent_of(box) as agent:
        agent.start()
        assert agent.status()["problems"] == [ABSENT]
        assert (agent.source()["hook"], agent.source()["interface"]) == ("none", "eth1")
        assert agent.get("/healthz") == (503, f"{ABSENT}\n")

        box.switch.link("span0", box.host, "eth1")
        agent.says(f"no longer: {ABSENT}")
        assert box.forwarded() == 12
        assert agent.get("/healthz") == (200, "fine\n")
        assert agent.get("/readyz") == (200, "fine\n")

        box.host.run(["ip", "link", "del", "eth1"])
        agent.says(ABSENT)
        box.switch.link("span0", box.host, "eth1")
        agent.says(f"no longer: {ABSENT}")
        assert box.forwarded() == 12
        assert counts(agent) == (2, 2)
        assert agent.metric('collector_source_frames_total{source="pbx"}') == 2
        assert agent.source()["hook"] == NAMED[hook]
        assert agent.stop() == 0


def test_a_nic_that_is_renamed_goes_on(box: Box) -> None:
    renamed = "source pbx: eth1 is called mirror0 now; write that in the file"
    with agent_of(box) as agent:
        agent.start()
        box.host.run(["ip", "link", "set", "eth1", "down"])
        box.host.run(["ip", "link", "set", "eth1", "name", "mirror0"])
        box.host.run(["ip", "link", "set", "mirror0", "up"])
        agent.says(renamed)
        agent.becomes(lambda status: status["problems"] == [renamed], "nothing but the new name")
        assert box.forwarded() == 12
        assert (agent.source()["interface"], agent.source()["hook"]) == ("mirror0", "xdp-native")
        assert agent.get("/healthz") == (200, "fine\n")

        agent.stop()
        agent.start()
        agent.says(renamed)
        assert box.forwarded() == 12
        assert counts(agent) == (2, 2)


def test_a_link_that_is_lost_is_said_and_comes_back(box: Box) -> None:
    unplugged = "source pbx: eth1 has no link; is the cable in?"
    with agent_of(box) as agent:
        agent.start()
        box.switch.down("span0")
        agent.says(unplugged)
        assert agent.status()["problems"] == [unplugged]
        assert agent.get("/healthz") == (200, "fine\n")
        box.switch.up("span0")
        agent.says(f"no longer: {unplugged}")
        assert box.forwarded() == 12
        assert agent.metric("collector_drift_repairs_total") == 0


def test_xdp_gives_way_to_tc_where_the_driver_refuses_and_comes_back_with_another_mtu(box: Box) -> None:
    with agent_of(box) as agent:
        agent.start()
        agent.says("source pbx: eth1 goes by xdp-native")
        box.host.run(["ip", "link", "del", "eth1"])
        agent.says(ABSENT)
        mirror_with_many_queues(box)
        agent.says(f"source pbx: eth1 goes by tc now: {QUEUES}", f"no longer: {ABSENT}")
        assert box.forwarded() == 12
        assert (agent.source()["hook"], agent.source()["why"]) == ("tc", QUEUES)

        box.switch.run(["ethtool", "-L", "span0", "tx", "1"])
        box.host.run(["ip", "link", "set", "eth1", "mtu", "1400"])
        agent.says("source pbx: eth1 goes by xdp-native again")
        assert box.forwarded() == 12
        assert (agent.source()["hook"], agent.source()["why"]) == ("xdp-native", "")
        assert counts(agent) == (2, 2)


def test_the_egress_nics_mtu_is_followed(box: Box) -> None:
    with agent_of(box) as agent:
        agent.start()
        for mtu, oversize in ((1400, 1), (1500, 1), (2000, 1)):
            box.host.run(["ip", "link", "set", "eth0", "mtu", str(mtu)])
            agent.becomes(lambda status, mtu=mtu: status["t_meters"][0]["path_mtu"] == mtu, "the path MTU")  # type: ignore[misc]
            assert box.forwarded(1400) == 12
            assert agent.t_meter()["oversize_frames"] == oversize
        assert counts(agent) == (3, 3)
