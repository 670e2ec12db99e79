"""The machine restarts, and the file is no good: what was applied and kept before goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.operate.lab import wait_for
from tests.lib.agent import Agent, agent_of
from tests.lib.box import Box

BROKEN = "version: 1\nsorces: []\n"
INSTEAD = "what was applied before this machine restarted is used instead"


@pytest.fixture
def agent(box: Box, tmp_path: Path) -> Iterator[Agent]:
    """It has applied the file, and keeps what it applies in a folder."""
    with agent_of(box, prefix=("env", f"STATE_DIRECTORY={tmp_path}/state")) as agent:
        agent.start()
        yield agent


@pytest.fixture
def kept(box: Box, agent: Agent, tmp_path: Path) -> Path:
    agent.says("load the program: pbx to ohio (192.0.2.2)")
    kept = tmp_path / "state" / box.instance / "applied.yaml"
    wait_for(lambda: kept.exists() and kept.read_text() == box.file.read_text(), "the file to be kept")
    return kept


def restart(box: Box, agent: Agent) -> None:
    """As the agent sees it: when it starts, nothing is in the kernel."""
    agent.stop()
    box.good("remove")
    agent.start()


def test_a_broken_file_leaves_what_ran_before(box: Box, agent: Agent, kept: Path) -> None:
    box.file.write_text(BROKEN)
    restart(box, agent)
    wrong = f"{box.file}:2:1: sorces: "
    agent.says(wrong, INSTEAD, "load the program: pbx to ohio (192.0.2.2)")
    assert box.forwarded() == 12
    (notice,) = agent.status()["notices"]
    assert notice.startswith(wrong)
    assert (agent.status()["healthy"], agent.get("/healthz")) == (True, (200, "fine\n"))
    assert agent.metric("collector_config_file_in_use") == 0
    assert agent.metric("collector_config_last_apply_success") == 1

    box.write(("vni: 12", "vni: 13"))
    agent.hang_up()
    agent.becomes(lambda status: status["notices"] == [], "nothing to say")
    assert box.forwarded() == 13
    assert kept.read_text() == box.file.read_text()


def test_a_file_that_this_host_refuses_leaves_what_ran_before(box: Box, agent: Agent, kept: Path) -> None:
    box.write(("eth1", "eth0"))
    restart(box, agent)
    refused = "eth0 has the address 192.0.2.1/24"
    agent.becomes(lambda status: refused in str(status["problems"]), refused)
    assert box.forwarded() == 12
    assert "interface: eth1" in kept.read_text()


def test_what_was_removed_by_hand_does_not_come_back(box: Box, agent: Agent, kept: Path) -> None:
    box.good("remove")
    agent.says("the agent does nothing more: it was removed by hand (collector remove)")
    wait_for(lambda: not kept.exists(), "it to be forgotten")
    box.file.write_text(BROKEN)
    restart(box, agent)
    agent.says(f"{box.file}:2:1: sorces: ")
    assert agent.status()["configured"] is False
    assert INSTEAD not in agent.log()


def test_what_is_torn_on_disk_is_left_out(box: Box, agent: Agent, kept: Path) -> None:
    agent.stop()
    kept.write_bytes(bytes(512))
    box.good("remove")
    box.file.write_text(BROKEN)
    agent.start()
    agent.says(f"the configuration that was applied last cannot be used: {kept}:1:1: the character U+0000")
    assert (agent.status()["configured"], agent.status()["healthy"]) == (False, True)
    box.write()
    agent.hang_up()
    agent.says("load the program: pbx to ohio (192.0.2.2)")
    assert box.forwarded() == 12
    wait_for(lambda: kept.read_text() == box.file.read_text(), "the file to be kept")


def test_a_restart_confirms_nothing(box: Box, agent: Agent, kept: Path) -> None:
    box.write(("vni: 12", "vni: 13"))
    box.good("apply", "--confirm-within", "3600")
    agent.says("the agent follows what was applied by hand")
    wait_for(kept.with_name("unconfirmed").exists, "it to be known as not confirmed")
    assert "vni: 12" in kept.read_text()
    restart(box, agent)
    refused = f"{box.file} was applied and not confirmed, so the one before it is in use; "
    agent.says(refused, INSTEAD)
    assert box.forwarded() == 12
    agent.stop()
    agent.start()
    agent.says(refused)
    assert box.forwarded() == 12

    box.good("apply", "--confirm-within", "3600")
    agent.says("the agent follows what was applied by hand")
    assert box.good("confirm") == "kept\n"
    wait_for(lambda: "vni: 13" in kept.read_text(), "it to be kept")
    restart(box, agent)
    agent.becomes(lambda status: status["notices"] == [], "nothing to say")
    assert box.forwarded() == 13
