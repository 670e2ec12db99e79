"""What the agent says that its configuration needs of the host, in the folder that systemd gives it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from collector.operate.lab import wait_for
from tests.lib.agent import PATIENCE, Agent, agent_of
from tests.lib.box import Box

NOTHING: dict[str, list[str]] = {"listen": [], "quiet_nics": []}


class Told:
    """`needs.json`, read by the ones that wait for it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "needs.json"

    def becomes(self, listen: list[str], quiet_nics: list[str] | None) -> None:
        wanted = {"listen": listen, "quiet_nics": quiet_nics}
        try:
            wait_for(lambda: self.now() == wanted, f"{wanted}", PATIENCE)
        except Exception:
            print(self.now())
            raise

    def now(self) -> Any:
        return json.loads(self._file.read_text()) if self._file.exists() else None

    def inode(self) -> int:
        return self._file.stat().st_ino


@contextmanager
def told_by(box: Box, folder: Path) -> Iterator[tuple[Agent, Told]]:
    with agent_of(box, prefix=("env", f"RUNTIME_DIRECTORY={folder}")) as agent:
        yield agent, Told(folder)


def test_it_follows_what_is_applied_removed_renamed_and_reloaded(box: Box, tmp_path: Path) -> None:
    box.file.write_text("version: 1\n")
    with told_by(box, tmp_path) as (agent, told):
        agent.start()
        told.becomes(**NOTHING)

        text = 'metrics: {listen: ["127.0.0.1:9747", "192.0.2.1:9747"]}\n'
        box.write(("version: 1\n", f"version: 1\n{text}"))
        agent.hang_up()
        told.becomes(["192.0.2.1:9747"], ["eth1"])

        box.write(("version: 1\n", 'version: 1\nmetrics: {listen: "0.0.0.0:9748"}\n'))
        box.good("apply")
        told.becomes(["0.0.0.0:9748"], ["eth1"])

        for command in ("down", "name mirror0", "up"):
            box.host.run(["ip", "link", "set", "eth1" if command != "up" else "mirror0", *command.split()])
        told.becomes(["0.0.0.0:9748"], ["mirror0"])

        box.good("remove")
        told.becomes(**NOTHING)


def test_a_shared_nic_is_not_kept_quiet(box: Box, tmp_path: Path) -> None:
    box.write(("interface: eth1", "interface: eth0, shared: true"))
    with told_by(box, tmp_path) as (agent, told):
        agent.start()
        agent.says("source pbx: eth0 goes by")
        told.becomes(**NOTHING)


def test_a_nic_that_goes_is_still_kept_quiet_for_when_it_comes_back(box: Box, tmp_path: Path) -> None:
    with told_by(box, tmp_path) as (agent, told):
        agent.start()
        told.becomes([], ["eth1"])
        before = told.inode()
        box.host.run(["ip", "link", "del", "eth1"])
        agent.says("source pbx: there is no interface eth1")
        assert (told.now(), told.inode()) == ({"listen": [], "quiet_nics": ["eth1"]}, before)


def test_it_stays_when_the_agent_stops_and_is_not_written_anew(box: Box, tmp_path: Path) -> None:
    with told_by(box, tmp_path) as (agent, told):
        agent.start()
        told.becomes([], ["eth1"])
        before = told.inode()
        agent.stop()
        agent.start()
        agent.says("source pbx: eth1 goes by")
        assert (told.now(), told.inode()) == ({"listen": [], "quiet_nics": ["eth1"]}, before)


def test_until_the_t_meter_can_be_reached_it_does_not_know_which_nics_are_quiet(
    box: Box, tmp_path: Path
) -> None:
    box.write(("version: 1\n", 'version: 1\nmetrics: {listen: "0.0.0.0:9747"}\n'))
    box.host.run(["ip", "address", "flush", "dev", "eth0"])
    with told_by(box, tmp_path) as (agent, told):
        agent.start()
        told.becomes(["0.0.0.0:9747"], None)
        box.host.address("eth0", "192.0.2.1/24")
        told.becomes(["0.0.0.0:9747"], ["eth1"])


def test_a_broken_file_at_the_start_tells_nothing_of_nics(box: Box, tmp_path: Path) -> None:
    box.file.write_text("version: 1\nsorces: []\n")
    with told_by(box, tmp_path) as (agent, told):
        agent.start()
        told.becomes([], None)


def test_a_nic_that_is_refused_is_not_cut_off(box: Box, tmp_path: Path) -> None:
    """It has an address: an administrator may come in by it."""
    with told_by(box, tmp_path) as (agent, told):
        agent.start()
        told.becomes([], ["eth1"])
        box.write(("eth1", "eth0"), ("version: 1\n", 'version: 1\nmetrics: {listen: "0.0.0.0:9747"}\n'))
        agent.hang_up()
        told.becomes(["0.0.0.0:9747"], ["eth1"])
