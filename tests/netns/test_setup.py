"""`collector setup` at a console of 80 columns and 24 lines: a whole one, and all the ways to leave it."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.datapath.nic import IFF_PROMISC, IFF_UP
from collector.operate.lab import wait_for
from collector.operate.setup import trial
from collector.operate.setup.keys import add_key, parse_key
from collector.operate.setup.network import Static, management_file, mirror_file
from tests.lib import mirrored
from tests.lib.box import let_all_in
from tests.lib.console import Console, console
from tests.lib.rig import COLLECTOR, T_METER, Rig, on_link
from tests.lib.written import written

# As `collector`, but with less patience where nobody answers.
HURRIED = """\
import sys
from collector.operate.setup import trial
trial.PERIOD = 5
from collector.cli import main
main()
"""
# With a stand-in for networkd, which sets eth0's address as the first file that names it says.
NETWORKD = """\
import os
from pathlib import Path
from pyroute2.iproute import IPRoute
from collector.operate.setup import look, network, trial
trial.PERIOD = 5
trial.NETWORK, trial.NETWORK_ON_TRIAL = (Path(os.environ["FOLDER"]) / each for each in ("etc", "run"))

def network_file(nic, host=None):
    files = [*trial.NETWORK.glob("*"), *trial.NETWORK_ON_TRIAL.glob("*")]
    files = sorted((each for each in files if f"Name={nic}" in each.read_text()), key=lambda each: each.name)
    return str(files[0])

def reload():
    static = network.read_static(Path(network_file("eth0")).read_text())
    with IPRoute() as netlink:
        index = netlink.link_lookup(ifname="eth0")[0]
        netlink.flush_addr(index=index)
        netlink.addr("add", index=index, address=static.address.split("/")[0], prefixlen=24)

look._network_file = lambda nic, host: network_file(nic.name)
trial.reload_networkd = reload
from collector.cli import main
main()
"""
KEEP = "Is it right? y keeps it, n takes it back"
WRITTEN = written(T_METER)
FORMER = f"""\
version: 1  # mine
sources: [{{name: lab, type: span, interface: eth1, vni: 12}}]
t_meters: [{{name: ohio, address: {T_METER}}}]
"""


@pytest.fixture
def rig() -> Iterator[Rig]:
    with on_link("tc") as here:
        try:
            yield here
            assert trial.read(here.tool.instance) is None
        finally:  # its guard ends without it
            (trial.FOLDER / f"setup-{here.tool.instance}.json").unlink(missing_ok=True)


def answer_all(at: Console, vni: str = "", *, consent: bool = True) -> None:
    """Up to the last question: shall it be done? `consent`: the file does not name the t-meter yet."""
    at.answer("Number [1]: ")
    at.answer("Number [1]: ")
    if consent:
        at.answer("Address: ", T_METER)
        at.answer("yes or no [no]: ", "yes")
    else:
        at.answer(f"Address [{T_METER}]: ")
    at.answer("VNI [12]: ", vni)
    at.answer("Number [1]: ")
    at.expect("Is this what you want?")
    at.answer("Number [1]: ")
    at.expect("Shall it be done?")


def delivered(rig: Rig) -> list[bytes]:
    """What the t-meter gets of twelve frames."""
    frames = list(mirrored.numbered(12, (100, 200)))
    with rig.tap() as tap:
        rig.send(*frames)
        return tap.wait(12)


def state(rig: Rig) -> object:
    """What a setup must leave as it was."""
    links = {
        link.get_attr("IFLA_IFNAME"): (
            link["flags"] & (IFF_UP | IFF_PROMISC),
            link.get_attr("IFLA_PROMISCUITY"),
        )
        for link in rig.collector.ipr.get_links()
    }
    folder = rig.tool.file.parent
    return links, {each.name: each.read_text() for each in folder.iterdir()}


def test_a_whole_setup(rig: Rig) -> None:
    with console(rig) as at:
        at.answer("Number [1]: ", "9")
        at.answer("answer with a number from 1 to 3\nNumber [1]: ")
        at.expect("Which NIC is plugged into the mirror port?")
        at.answer("Number [1]: ", "back")
        at.expect("How do the copies")
        at.answer("Number [1]: ")
        at.expect("Which NIC is plugged into the mirror port?")
        rig.send(*mirrored.numbered(7, (100,)))
        at.expect("<- here")
        at.answer("Number [1]: ", "2")
        at.expect("eth0 carries this machine's own traffic (192.0.2.1/24)")
        at.answer("Number [1]: ", "eth1")
        at.answer("Address: ", "127.0.0.1")
        at.answer("127.0.0.1 cannot be another machine; write the t-meter's own address\nAddress: ", T_METER)
        at.answer("yes or no [no]: ")
        at.expect("Nothing will be sent there.")
        at.answer(f"Address [{T_METER}]: ")
        at.answer("yes or no [no]: ", "y")
        at.answer("VNI [12]: ")
        at.answer("Number [1]: ")
        assert WRITTEN in at.expect("Is this what you want?")
        at.answer("Number [1]: ")
        assert "load the program: pbx to t-meter" in at.expect("Shall it be done?")
        assert not rig.tool.file.exists()
        at.answer("Number [1]: ")
        at.expect(KEEP)
        sent = list(mirrored.numbered(12, (100, 200)))
        assert delivered(rig) == sent
        at.expect("sent                12 frames")
        assert not rig.tool.file.exists()
        at.type("y")
        assert at.end(0).endswith(
            f"Kept, in\n  {rig.tool.file}\nHow it goes: collector status, or collector top\n"
            "No agent runs here. After a restart of this machine: collector apply, or let\n"
            "systemd start: collector run\n"
        )
    assert rig.tool.file.read_text() == WRITTEN
    assert rig.tool.command("confirm").stdout == "nothing waits to be confirmed\n"
    assert rig.tool.command("plan").stdout == "nothing to change\n"


def test_nobody_confirms(rig: Rig) -> None:
    before = state(rig)
    with console(rig, HURRIED) as at:
        answer_all(at)
        at.answer("Number [1]: ")
        at.expect(KEEP)
        at.expect("it was not kept: everything is as it was")
        at.end(1)
    wait_for(lambda: state(rig) == before, "everything to be as it was")
    assert rig.tool.status().raw["configured"] is False


def test_nobody_confirms_a_change_of_what_runs(rig: Rig) -> None:
    rig.tool.file.write_text(FORMER)
    rig.tool.command("apply")
    before = state(rig)
    with console(rig, HURRIED) as at:
        answer_all(at, "77", consent=False)
        at.answer("Number [1]: ")
        at.expect(KEEP)
        assert rig.tool.status().source("lab")["vni"] == "77"
        at.expect("it was not kept: everything is as it was")
        at.end(1)
    assert state(rig) == before
    assert len(delivered(rig)) == 12


def test_no_takes_it_back_at_once_and_yes_keeps_the_old_file_beside_the_new(rig: Rig) -> None:
    rig.tool.file.write_text(FORMER)
    rig.tool.command("apply")
    before = state(rig)
    with console(rig) as at:
        answer_all(at, "77", consent=False)
        at.answer("Number [1]: ")
        at.expect(KEEP)
        at.type("n")
        at.expect("it was not kept: everything is as it was")
        at.end(1)
    assert state(rig) == before
    assert rig.tool.status().source("lab")["vni"] == "12"
    with console(rig) as at:
        answer_all(at, "77", consent=False)
        at.answer("Number [1]: ")
        at.expect(KEEP)
        at.type("y")
        at.end(0)
    assert rig.tool.file.with_name("collector.yaml.bak").read_text() == FORMER
    assert "name: lab" in rig.tool.file.read_text()
    assert rig.tool.status().source("lab")["vni"] == "77"


def test_a_lost_terminal_takes_nothing_back_and_confirm_keeps_it_elsewhere(rig: Rig) -> None:
    with console(rig) as at:
        answer_all(at)
        at.answer("Number [1]: ")
        at.expect(KEEP)
        at.process.kill()
    assert not rig.tool.file.exists()
    assert rig.tool.command("confirm").stdout == "kept\n"
    wait_for(lambda: trial.read(rig.tool.instance) is None, "the guard to put the file in place, and to end")
    assert rig.tool.file.read_text() == WRITTEN


def test_another_setup_can_answer(rig: Rig) -> None:
    with console(rig) as first:
        answer_all(first)
        first.answer("Number [1]: ")
        first.expect(KEEP)
        first.process.send_signal(signal.SIGHUP)
        first.end(1)
    with console(rig) as second:
        second.expect(KEEP)
        second.type("y")
        second.end(0)
    assert rig.tool.file.read_text() == WRITTEN


@pytest.mark.parametrize("leave", ["Ctrl-C", "HUP"])
def test_leaving_while_nics_are_watched_leaves_them_as_they_were(rig: Rig, leave: str) -> None:
    rig.collector.down("eth1")
    before = state(rig)
    with console(rig) as at:
        at.answer("Number [1]: ")
        at.expect("Number [1]: ")
        assert state(rig) != before
        if leave == "HUP":
            at.process.send_signal(signal.SIGHUP)
        else:
            at.interrupt()
        at.end(1)
    assert state(rig) == before
    assert trial.read(rig.tool.instance) is None


@dataclass
class Managed:
    """The rig, with networkd's folders; eth0's present address comes from there."""

    rig: Rig
    folder: Path

    @contextmanager
    def console(self) -> Iterator[Console]:
        with console(self.rig, NETWORKD, folder=self.folder) as at:
            yield at

    def state(self) -> tuple[list[str], dict[str, str]]:
        """eth0's addresses, and all files."""
        messages = self.rig.collector.ipr.get_addr(index=self.rig.collector.index("eth0"))
        files = {}
        for each in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):  # setup may take it back just now
                files[str(each.relative_to(self.folder))] = each.read_text()
        return [message.get_attr("IFA_ADDRESS") for message in messages], files


@pytest.fixture
def managed(rig: Rig, tmp_path: Path) -> Managed:
    for name in ("etc", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc" / "80-own.network").write_text(f"Name=eth0\n[Network]\nAddress={COLLECTOR}/24\n")
    (tmp_path / "etc" / "90-quiet.network").write_text(mirror_file("eth1").replace("LLDP", "#LLDP"))
    return Managed(rig, tmp_path)


def move(at: Console) -> None:
    """To another address, up to the question whether to keep it."""
    at.answer("Number [1]: ")
    at.answer("Number [1]: ")
    at.expect(f"eth0 has {COLLECTOR}/24.")
    at.answer("Number [1]: ", "2")
    at.answer(f"Address [{COLLECTOR}/24]: ", "192.0.2.10/24")
    at.answer("Gateway [192.0.2.1]: ", "none")
    at.answer("DNS [none]: ")
    at.answer("Address: ", T_METER)
    at.answer("yes or no [no]: ", "yes")
    at.answer("VNI [12]: ")
    at.answer("Number [1]: ", "3")
    assert "eth0 gets its address 192.0.2.10/24, no gateway, no DNS.\n" in at.expect("Is this what you want?")
    at.answer("Number [1]: ")
    at.expect("Shall it be done?")
    at.answer("Number [1]: ")
    at.expect(KEEP)


def test_another_address_is_kept(managed: Managed) -> None:
    with managed.console() as at:
        move(at)
        at.type("y")
        at.end(0)
    addresses, files = managed.state()
    assert addresses == ["192.0.2.10"]
    assert sorted(files) == [
        "etc/05-collector-management.network", "etc/05-collector-mirror.network", "etc/80-own.network",
        "etc/90-quiet.network",
    ]  # fmt: skip
    assert files["etc/05-collector-management.network"] == management_file("eth0", Static("192.0.2.10/24"))
    assert len(delivered(managed.rig)) == 12


@pytest.mark.parametrize("killed", [False, True])
def test_another_address_comes_back_by_itself(managed: Managed, killed: bool) -> None:
    before, (addresses, files) = state(managed.rig), managed.state()
    with managed.console() as at:
        move(at)
        assert managed.state()[0] == ["192.0.2.10"]
        assert sorted(set(managed.state()[1]) - set(files)) == [
            "run/04-collector-management.network", "run/04-collector-mirror.network"
        ]  # fmt: skip
        if killed:
            at.process.kill()
        else:
            at.expect("it was not kept: everything is as it was")
            at.end(1)
        wait_for(lambda: managed.state() == (addresses, files), "the address to come back", 20)
        wait_for(lambda: state(managed.rig) == before, "everything to be as it was", 20)


def test_ctrl_c_at_every_question_changes_nothing(rig: Rig) -> None:
    before = state(rig)
    with console(rig) as at:
        answer_all(at)
        at.expect("Number [1]: ")
        at.interrupt()
        assert at.end(1).endswith("\nNothing was changed.\n")
    assert state(rig) == before


def test_what_this_host_cannot_do_leads_back_to_the_questions(rig: Rig) -> None:
    with console(rig) as at:
        at.answer("Number [1]: ")
        at.answer("Number [1]: ")
        at.answer("Address: ", COLLECTOR)
        at.answer("yes or no [no]: ", "yes")
        at.answer("VNI [12]: ")
        at.answer("Number [1]: ")
        at.expect("Is this what you want?")
        at.answer("Number [1]: ")
        at.expect("192.0.2.1 is an address of this host; write the t-meter's own address")
        at.answer("Number [1]: ", "back")
        at.answer("VNI [12]: ", "back")
        at.answer("yes or no [no]: ", "back")
        at.answer(f"Address [{COLLECTOR}]: ", T_METER)
        at.expect("yes or no [no]: ")
        at.interrupt()
        at.end(1)


def test_a_broken_file_is_not_written_over_unasked(rig: Rig) -> None:
    rig.tool.file.write_text("sources: [")
    with console(rig) as at:
        at.answer("Write a new one? The old one is kept, with .bak behind its name [y/N]: ")
        at.end(1)
    assert rig.tool.file.read_text() == "sources: ["


def test_a_dumb_terminal(rig: Rig) -> None:
    with console(rig, term="dumb") as at:
        answer_all(at)
        at.answer("Number [1]: ")
        at.expect(KEEP)
        at.type("y")
        assert "\x1b" not in at.end(0) + at.whole
    assert rig.tool.file.read_text() == WRITTEN


def test_without_a_terminal(rig: Rig) -> None:
    done = rig.tool.command("setup", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "collector: setup asks questions, and there is nobody to answer: this is no terminal\n"
        "  Run it at the console or over SSH. Without a person: write the file, then collector apply.\n"
    )


def test_a_key_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    let_all_in(tmp_path)
    account = pwd.struct_passwd((*nobody[:5], str(home), nobody[6]))
    monkeypatch.setattr(pwd, "getpwnam", lambda _: account)
    key = parse_key("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDFbnRPZSxGc82ISg3Ui3V+MaIHSqo5bdf4Z5qnK0Va6")
    assert add_key("nobody", key)
    assert not add_key("nobody", key)
    file = home / ".ssh" / "authorized_keys"
    assert file.read_text() == key.line + "\n"
    for each, mode in ((file, 0o600), (file.parent, 0o700)):
        assert (each.stat().st_uid, each.stat().st_mode & 0o777) == (nobody.pw_uid, mode)
    assert os.geteuid() == 0
