"""The Debian packages: built, installed on a plain Debian with its own systemd, used, upgraded and purged."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from collector.cli import main_group
from collector.control.config import parse
from collector.operate.lab import Lab, wait_for
from collector.operate.update.command import update
from collector.version import version
from tests.lib.box import SPAN, Box
from tests.lib.container import ROOT, Container
from tests.lib.fault import Faulty
from tests.lib.snapshot import Snapshot

RELEASES = {"bookworm": 12, "trixie": 13}
FILE = "/etc/collector/collector.yaml"
PINS = "/sys/fs/bpf/collector"
NEEDS = "/run/collector/needs.json"
COMMENTED_KEY = re.compile(r"^( *)# ( *(?:- )?[a-z_]+: )", re.MULTILINE)
# What it did, and what it knew before.
OF_DPKG = {"/var/log/dpkg.log", "/var/lib/dpkg/status-old", "/var/lib/dpkg/diversions-old"}


@dataclass
class Machine:
    """`files` and `network`: as they were before the package was installed."""

    container: Container
    box: Box
    package: str
    files: set[str]
    network: Snapshot
    sent: int = 0

    def status(self) -> dict[str, Any]:
        told = self.container.run("collector", "status", "--json", check=False).stdout
        return dict(json.loads(told))

    def agent(self) -> int:
        return int(self.container.says("systemctl", "show", "--property=MainPID", "--value", "collector"))

    def is_active(self) -> bool:
        return self.container.run("systemctl", "is-active", "collector", check=False).stdout == "active\n"

    def configure(self, vni: int) -> None:
        """Returns once the running agent has read it."""
        self.container.write(FILE, SPAN.replace("vni: 12", f"vni: {vni}"))
        before = self.container.says("collector", "-c", FILE, "plan")
        assert "nothing to change" not in before
        self.container.run("systemctl", "reload", "collector")
        wait_for(self._applied, "the agent to apply the file")

    def _applied(self) -> bool:
        return "nothing to change" in self.container.says("collector", "plan")

    def forwards(self) -> int:
        """The VNI."""
        vni = self.box.forwarded()
        self.sent += 1
        return vni

    def counted(self) -> int:
        (source,) = self.status()["sources"]
        return int(source["frames"])


@pytest.fixture(scope="session")
def images() -> None:
    """None is needed here."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, without a warning of their own Debian's lintian: the build ends with it."""
    folder = tmp_path_factory.mktemp("packages")
    done = subprocess.run(
        [ROOT / "deploy/debian/build.sh", folder], text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module", params=RELEASES)
def machine(
    request: pytest.FixtureRequest, packages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    """With the package as it is after `apt install`: nothing is configured."""
    folder = tmp_path_factory.mktemp(request.param)
    (package,) = packages.glob(f"collector_{version()}-*~deb{RELEASES[request.param]}_*.deb")
    with Lab() as lab:
        box = Box(lab, folder, Faulty(folder))
        box.cable()
        with Container(
            request.param, namespace=box.host.path, packages=packages, console=folder / "console"
        ) as container:
            machine = Machine(container, box, f"/packages/{package.name}", container.files(), box.snapshot())
            container.run("dpkg", "--install", machine.package)
            yield machine


def commands() -> list[str]:
    context = click.Context(main_group)
    names = main_group.list_commands(context)
    return [name for name in names if (found := main_group.get_command(context, name)) and not found.hidden]


def test_there_is_one_for_each_release(packages: Path) -> None:
    assert sorted(path.name.split("_")[1].split("-")[1].split("~")[1] for path in packages.iterdir()) == [
        f"deb{number}" for number in RELEASES.values()
    ]


def test_the_program_is_of_this_version(machine: Machine) -> None:
    assert machine.container.says("collector", "--version") == f"collector, version {version()}\n"


def test_a_blank_machine_is_fine(machine: Machine) -> None:
    assert machine.is_active()
    assert machine.container.says("collector", "status") == "not configured: nothing is forwarded\n"
    assert machine.container.says("systemctl", "--failed", "--plain", "--no-legend") == ""


def test_the_unit_is_right_and_has_few_privileges(machine: Machine) -> None:
    checked = machine.container.run("systemd-analyze", "--man=no", "verify", "collector.service")
    assert "collector" not in checked.stdout + checked.stderr
    machine.container.run("systemd-analyze", "security", "--threshold=30", "collector.service")


def test_every_command_has_a_manual_page(machine: Machine) -> None:
    pages = machine.container.says("find", "/usr/share/man/man1", "-name", "collector*").splitlines()
    below = [f"update-{name}" for name in update.commands]
    wanted = ["collector", *(f"collector-{name}" for name in [*commands(), *below])]
    assert sorted(Path(page).name for page in pages) == sorted(f"{name}.1.gz" for name in wanted)
    for page in pages:
        shown = machine.container.run("man", "--warnings", "--local-file", page)
        assert shown.stderr == ""
        assert "EXIT STATUS" in shown.stdout


def test_shells_complete_commands(machine: Machine) -> None:
    bash = "source /usr/share/bash-completion/completions/collector && complete -p collector"
    assert "collector_completion collector" in machine.container.says("bash", "-c", bash)
    asked = ("COMP_WORDS=collector sta", "COMP_CWORD=1", "_COLLECTOR_COMPLETE=bash_complete")
    assert machine.container.says("env", *asked, "collector") == "plain,status\n"
    zsh = "autoload -U compinit; compinit -u -D; print $_comps[collector]"
    assert machine.container.says("zsh", "-f", "-c", zsh) == "_collector\n"
    fish = machine.container.says("fish", "-c", "complete -C 'collector '")
    assert [line.split("\t")[0] for line in fish.splitlines()] == commands()


def test_the_example_is_a_right_configuration(machine: Machine) -> None:
    example = machine.container.says("cat", "/usr/share/doc/collector/examples/collector.yaml")
    everything = COMMENTED_KEY.sub(r"\1\2", example)
    assert len(parse(example, "example").sources) == 1
    assert len(parse(everything, "everything").sources) == 2


def test_a_reload_reads_the_file(machine: Machine) -> None:
    machine.configure(vni=13)
    assert machine.forwards() == 13
    machine.configure(vni=14)
    assert machine.forwards() == 14
    assert machine.status()["healthy"]


def test_frames_flow_on_without_the_service(machine: Machine) -> None:
    machine.container.run("systemctl", "stop", "collector")
    assert machine.forwards() == 14
    assert machine.container.says("cat", NEEDS) == '{"listen": [], "quiet_nics": ["eth1"]}\n'
    assert machine.container.says("stat", "--format=%a", NEEDS) == "644\n"
    machine.container.run("systemctl", "start", "collector")
    killed = machine.agent()
    machine.container.run("systemctl", "kill", "--signal=KILL", "collector")
    assert machine.forwards() == 14
    wait_for(lambda: machine.is_active() and machine.agent() != killed, "systemd to start it again")
    assert machine.counted() == machine.sent


def test_frames_flow_on_during_an_upgrade(machine: Machine) -> None:
    former = machine.agent()
    upgrade = machine.container.start("dpkg", "--install", machine.package)
    while upgrade.poll() is None:
        assert machine.forwards() == 14
    output, _ = upgrade.communicate()
    assert upgrade.returncode == 0, output
    assert machine.is_active()
    assert machine.agent() != former
    assert machine.counted() == machine.sent


def test_a_purge_leaves_nothing(machine: Machine) -> None:
    machine.container.run("dpkg", "--purge", "collector")
    left = machine.container.files() ^ machine.files
    assert left - OF_DPKG == set()
    for gone in (PINS, NEEDS):
        assert machine.container.run("ls", gone, check=False).returncode != 0
    machine.box.await_same(machine.network)
