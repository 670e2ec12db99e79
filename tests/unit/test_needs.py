"""What the agent says it needs of the host, and what the appliance makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collector.control.config import BLANK, ConfigFile, load_text
from collector.control.needs import Needs, NeedsFile, needs_of
from collector.control.status import SourceStatus, Status
from tests.lib.follow import Follow

SPAN = "{name: pbx, type: span, interface: eth1}"
SHARED = "{name: lan, type: span, interface: eth0, shared: true}"
CLOUD = "{name: aws, type: vxlan, interface: eth2}"
BY_MAC = '{name: pbx, type: span, interface: {mac: "02:00:00:00:00:02"}}'
LOCAL = "127.0.0.1:9747"


def file(*sources: str, listen: str = LOCAL) -> ConfigFile:
    text = f"version: 1\nmetrics: {{listen: {json.dumps(listen.split())}}}\n"
    if sources:
        text += f"sources: [{', '.join(sources)}]\nt_meters: [{{name: ohio, address: 192.0.2.1}}]\n"
    return load_text(text, "c.yaml")


def told(
    followed: ConfigFile, *running: tuple[str, str], runs: ConfigFile | None = None, blank: bool = False
) -> Needs:
    """`running`: the sources that run, and the present names of their NICs."""
    sources = tuple(SourceStatus(name, "", nic, "tc", "", "", 0, 0, 0, {}, None) for name, nic in running)
    chosen: Any = SimpleNamespace(file=followed, runs=runs, is_blank=blank)
    return needs_of(chosen, Status("default", True, True, (), sources, ()))


def test_a_blank_unit_needs_nothing() -> None:
    assert told(BLANK, blank=True) == Needs((), ())


def test_only_a_span_source_that_has_its_nic_for_itself_keeps_it_quiet() -> None:
    running = (("pbx", "eth1"), ("lan", "eth0"), ("aws", "eth2"))
    assert told(file(SPAN, SHARED, CLOUD), *running).quiet_nics == ("eth1",)
    assert told(file(SPAN), ("pbx", "mirror0")).quiet_nics == ("mirror0",)
    assert told(file(BY_MAC), ("pbx", "eth7")).quiet_nics == ("eth7",)


def test_a_nic_that_is_away_and_has_no_name_is_left_out() -> None:
    assert told(file(BY_MAC), ("pbx", "02:00:00:00:00:02")).quiet_nics == ()
    assert told(file(SPAN), ("pbx", "interface 7")).quiet_nics == ()


def test_what_is_wanted_and_does_not_run_is_not_known() -> None:
    assert told(file(SPAN, listen="192.0.2.2:9747")) == Needs(("192.0.2.2:9747",), None)
    assert told(BLANK) == Needs((), None)


def test_while_what_is_wanted_cannot_be_had_what_runs_counts() -> None:
    wanted = file("{name: other, type: span, interface: eth0}")
    assert told(wanted, ("pbx", "eth1"), runs=file(SPAN)).quiet_nics == ("eth1",)


@pytest.mark.parametrize(
    ("listen", "needed"),
    [
        (LOCAL, ()),
        ("[::1]:9747", ()),
        ("127.8.0.1:80", ()),
        ("0.0.0.0:9747", ("0.0.0.0:9747",)),
        ("[::]:9747", ("[::]:9747",)),
        (f"{LOCAL} 192.0.2.2:9747 [2001:db8::2]:443", ("192.0.2.2:9747", "[2001:db8::2]:443")),
    ],
)
def test_what_others_must_reach(listen: str, needed: tuple[str, ...]) -> None:
    assert told(file(SPAN, listen=listen), ("pbx", "eth1")).listen == needed


def test_the_file_is_for_all_to_read_and_written_only_when_it_changes(tmp_path: Path) -> None:
    kept = NeedsFile({"RUNTIME_DIRECTORY": str(tmp_path)})
    assert kept.path == tmp_path / "needs.json"
    assert kept.write(Needs(("192.0.2.2:9747",), ("eth1",))) == ""
    assert kept.path.read_text() == '{"listen": ["192.0.2.2:9747"], "quiet_nics": ["eth1"]}\n'
    assert kept.path.stat().st_mode & 0o777 == 0o644
    first = kept.path.stat().st_ino
    assert kept.write(Needs(("192.0.2.2:9747",), ("eth1",))) == ""
    assert kept.path.stat().st_ino == first
    assert kept.write(Needs((), None)) == ""
    assert kept.path.read_text() == '{"listen": [], "quiet_nics": null}\n'
    assert list(tmp_path.iterdir()) == [kept.path]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "a-file"
    folder.touch()
    kept = NeedsFile({"RUNTIME_DIRECTORY": str(folder)})
    assert kept.write(Needs()) == f"{folder}/needs.json cannot be written: File exists"


def test_outside_of_a_service_there_is_no_file() -> None:
    assert NeedsFile({}).write(Needs(("192.0.2.2:9747",), ())) == ""


# What the appliance makes of it

EMPTY = "flush set inet filter quiet_nics\nflush chain inet filter collector\n"


@pytest.fixture
def follow(tmp_path: Path) -> Follow:
    follow = Follow(tmp_path)
    follow.module.LOAD = ("cat",)  # type: ignore[attr-defined]
    return follow


@pytest.mark.parametrize(
    ("listen", "rule"),
    [
        ("192.0.2.2:9747", "ip daddr 192.0.2.2 tcp dport 9747 accept"),
        ("[2001:db8::2]:443", "ip6 daddr 2001:db8::2 tcp dport 443 accept"),
        ("0.0.0.0:9747", "meta nfproto ipv4 tcp dport 9747 accept"),
        ("[::]:9747", "tcp dport 9747 accept"),
    ],
)
def test_an_address_becomes_a_rule(follow: Follow, listen: str, rule: str) -> None:
    follow(listen=[listen], quiet_nics=[])
    assert follow.rules.read_text() == f"{EMPTY}add rule inet filter collector {rule}\n"


def test_quiet_nics(follow: Follow) -> None:
    follow.nic("eth1", "52:54:00:00:00:02", 0)
    follow.nic("bond0", "52:54:00:00:00:03", 3)
    follow(listen=[], quiet_nics=["eth1", "bond0", "usb0"])
    assert follow.rules.read_text() == (
        f'{EMPTY}add element inet filter quiet_nics {{ "bond0", "eth1", "usb0" }}\n'
    )
    assert follow.quiet() == {
        "07-collector-quiet-bond0.network": "Name=bond0",
        "07-collector-quiet-eth1.network": "PermanentMACAddress=52:54:00:00:00:02",
        "07-collector-quiet-usb0.network": "Name=usb0",
    }
    text = (follow.networks / "07-collector-quiet-eth1.network").read_text()
    assert text.partition("[Network]\n")[2].splitlines() == [
        "DHCP=no",
        "LinkLocalAddressing=no",
        "IPv6AcceptRA=no",
        "LLDP=no",
    ]
    assert follow.reloads == 1


def test_the_network_is_told_only_when_something_changes(follow: Follow) -> None:
    other = follow.networks / "10-uplink.network"
    other.touch()
    follow(listen=[], quiet_nics=["eth1"])
    follow(listen=["192.0.2.2:9747"], quiet_nics=["eth1"])
    assert follow.reloads == 1
    follow(listen=[], quiet_nics=["mirror0"])
    assert follow.quiet() == {other.name: "", "07-collector-quiet-mirror0.network": "Name=mirror0"}
    follow(listen=[], quiet_nics=[])
    assert (list(follow.networks.iterdir()), follow.reloads) == ([other], 3)
    assert follow.rules.read_text() == EMPTY


def test_while_it_is_not_known_which_nics_are_quiet_they_stay_so(follow: Follow) -> None:
    follow(listen=[], quiet_nics=["eth1"])
    follow(listen=["192.0.2.2:9747"], quiet_nics=None)
    assert list(follow.quiet()) == ["07-collector-quiet-eth1.network"]
    assert 'quiet_nics { "eth1" }\n' in follow.rules.read_text()


def test_without_the_agents_file_nothing_is_needed(follow: Follow) -> None:
    follow(listen=["192.0.2.2:9747"], quiet_nics=["eth1"])
    follow.needs.unlink()
    follow()
    assert (follow.quiet(), follow.rules.read_text()) == ({}, EMPTY)


def test_a_file_that_changes_meanwhile_is_read_again(follow: Follow) -> None:
    later = follow.needs.with_name("later")
    later.write_text(json.dumps({"listen": [], "quiet_nics": ["eth2"]}))
    follow.module.LOAD = ("sh", "-c", f"[ ! -e {later} ] || mv {later} {follow.needs}")  # type: ignore[attr-defined]
    follow(listen=[], quiet_nics=["eth1"])
    assert list(follow.quiet()) == ["07-collector-quiet-eth2.network"]


def test_a_name_that_no_rule_can_hold_is_refused_and_nothing_is_changed(follow: Follow) -> None:
    follow(listen=[], quiet_nics=["eth1"])
    with pytest.raises(SystemExit) as refused:
        follow(listen=[], quiet_nics=["eth*"])
    assert refused.value.code == (
        "The NIC's name 'eth*' cannot stand in a file's name and in a rule: give it another."
    )
    assert list(follow.quiet()) == ["07-collector-quiet-eth1.network"]
