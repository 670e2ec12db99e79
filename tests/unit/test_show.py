"""What a person reads: whole outputs, 80 columns wide, and in colour only on a terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from unittest.mock import Mock

import pytest

from collector.control import status
from collector.control.host import Host
from collector.control.show import Interface, Rate, Report, print_interfaces, print_status
from collector.control.status import SourceStatus, Status, TMeterStatus
from collector.datapath import settings, tmeter
from collector.datapath.counters import TMeterCounters
from tests.lib.hosts import HOST, ROUTE, ROUTE6, UPLINK, with_nic

NO_DROPS = {"malformed": 0, "loop": 0, "oversize": 0}
PBX = SourceStatus(
    "pbx", "span", "eth1", "xdp-native", "", "12",
    frames=1234567, bytes=264197338, passed_frames=0, drops=NO_DROPS, last_frame_age_seconds=0.02,
)  # fmt: skip
AWS = SourceStatus(
    "aws", "vxlan", "eth0", "tc", "the egress NIC eth0: the MTU is too large for it", "2 mapped, others 12",
    frames=0, bytes=0, passed_frames=88, drops={**NO_DROPS, "loop": 3, "oversize": 21},
    last_frame_age_seconds=None,
)  # fmt: skip
OHIO = TMeterStatus("ohio", "203.0.113.10", 4789, up=True, why="", frames=1234543, bytes=9999, path_mtu=1500)
HEALTHY = Status("default", True, True, (), (PBX, AWS), (OHIO,))
BLANK = Status("default", True, False, (), (), ())
PROBLEMS = ("source pbx: eth1 is down", "source aws: eth0 has no link; is the cable in?")
SICK = Status(
    "branch-2", False, True, PROBLEMS, (replace(PBX, hook="none"),),
    (replace(OHIO, up=False, why="192.0.2.254 does not answer ARP"),),
)  # fmt: skip


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """Without the blanks that end a line."""
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out
    assert [line for line in out.splitlines() if len(line) > 80] == []
    return "\n".join(line.rstrip() for line in out.splitlines()) + "\n"


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the developer's own environment says about colour and width."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def test_a_blank_appliance(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(Report(BLANK, {}))
    assert printed(capsys) == "not configured: nothing is forwarded\n"


def test_a_blank_one_whose_file_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(Report(replace(BLANK, notices=("a configuration from here was refused",)), {}))
    assert printed(capsys) == (
        "not configured: nothing is forwarded\n  * a configuration from here was refused\n"
    )


def test_a_healthy_one_with_rates(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(Report(HEALTHY, {"pbx": Rate(50_000.4, 85_600_000.0), "aws": Rate(0, 0)}))
    assert (
        printed(capsys)
        == """\
instance default: healthy

source pbx  span on eth1, VNI 12, hook xdp-native
  received        1,234,567 frames  264.2 MB   50,000 frames/s, 85.60 Mbit/s
  last frame      0.0 s ago

source aws  vxlan on eth0, VNI 2 mapped, others 12, hook tc
  not xdp-native: the egress NIC eth0: the MTU is too large for it
  received                0 frames  0 B   0 frames/s, 0.00 Mbit/s
  passed                 88 frames  to this host, not mirrored traffic
  dropped                 3 frames  loop
  dropped                21 frames  oversize
  last frame          never

t-meter ohio  203.0.113.10:4789  up
  sent            1,234,543 frames  10.0 kB
  path MTU            1,500 bytes
"""
    )


def test_long_words_hang_below_their_first(capsys: pytest.CaptureFixture[str]) -> None:
    refused = "a file was refused, and what ran before it runs on, until a well-made one comes:\n1: why"
    print_status(Report(replace(BLANK, notices=(refused,)), {}))
    assert (
        printed(capsys)
        == """\
not configured: nothing is forwarded
  * a file was refused, and what ran before it runs on, until a well-made one
    comes:
    1: why
"""
    )


def test_one_that_is_not_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    print_status(Report(SICK, {}))
    assert (
        printed(capsys)
        == """\
instance branch-2: NOT healthy
  ! source pbx: eth1 is down
  ! source aws: eth0 has no link; is the cable in?

source pbx  span on eth1, VNI 12, hook none
  received        1,234,567 frames  264.2 MB
  last frame      0.0 s ago

t-meter ohio  203.0.113.10:4789  down: 192.0.2.254 does not answer ARP
  sent            1,234,543 frames  10.0 kB
  path MTU            1,500 bytes
"""
    )


@pytest.mark.parametrize(
    ("address", "shown"),
    [("2001:db8:7::10", "[2001:db8:7::10]:4789"), ("203.0.113.10", "203.0.113.10:4789")],
)
def test_an_ipv6_address_is_told_from_its_port(
    capsys: pytest.CaptureFixture[str], address: str, shown: str
) -> None:
    down = replace(OHIO, address=address, up=False, why="fe80::1 does not answer neighbour discovery")
    print_status(Report(replace(HEALTHY, sources=(), t_meters=(down,)), {}))
    assert f"t-meter ohio  {shown}  down: fe80::1" in printed(capsys)


@pytest.mark.parametrize(
    ("host", "route", "why"),
    [
        (HOST, ROUTE, "192.0.2.254 does not answer ARP"),
        (HOST, ROUTE6, "fe80::1 does not answer neighbour discovery"),
        (HOST, replace(ROUTE6, refusal="this host has no route to it"), "this host has no route to it"),
        (with_nic(UPLINK, carrier=False), ROUTE, "eth0 has no link; is the cable in?"),
    ],
    ids=["ipv4", "ipv6", "route", "link"],
)
def test_why_the_t_meter_is_down(
    monkeypatch: pytest.MonkeyPatch, host: Host, route: tmeter.Route, why: str
) -> None:
    monkeypatch.setattr(tmeter, "neighbour_state", lambda *_: 0)
    wanted = settings.TMeter(
        "ohio", route.source, route.address, 4789, 1500, settings.Oversize.DROP, route.ifindex
    )
    found = status._t_meter(wanted, replace(host, route=route), TMeterCounters(1, 2, 3), Mock(), None)
    assert found == TMeterStatus("ohio", str(route.address), 4789, False, why, 1, 2, 1500, 3)


def test_figures_at_their_largest_stay_within_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    busy = replace(PBX, name="a" * 31, interface="e" * 15, frames=10**12, bytes=10**15)
    print_status(Report(replace(HEALTHY, sources=(busy,)), {busy.name: Rate(1e7, 1e11)}))
    assert "1,000,000,000,000 frames  1,000.0 TB" in printed(capsys)


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel lets an interface be called so; it is no markup."""
    odd = replace(PBX, interface="eth[b]1", why="[red]no")
    sick = replace(SICK, problems=("source pbx: eth[b]1 is down",), sources=(odd,))
    print_status(Report(sick, {}))
    out = printed(capsys)
    assert "span on eth[b]1," in out
    assert "not xdp-native: [red]no" in out
    assert "  ! source pbx: eth[b]1 is down" in out


def test_json_has_rates_only_where_they_were_measured() -> None:
    told = Report(HEALTHY, {"pbx": Rate(1.5, 2.5)}).to_json()
    assert json.loads(json.dumps(told)) == {
        key: list(value) if isinstance(value, tuple) else value for key, value in told.items()
    }
    pbx, aws = told["sources"]
    assert (pbx["frames_per_second"], pbx["bits_per_second"]) == (1.5, 2.5)
    assert "frames_per_second" not in aws


ETH1 = Interface(
    "eth1", "02:00:00:00:00:01", "ixgbe", up=True, carrier=True, mtu=1500, addresses=(), hook="xdp-native",
    attached=True, why="",
)  # fmt: skip
ROWS = [
    ETH1,
    replace(ETH1, name="eth0", driver="ena", mtu=9001, hook="tc", why="the MTU is larger than its XDP takes"),
    replace(ETH1, name="eth2", driver="", carrier=False, attached=False, why="as far as the driver says"),
    replace(
        ETH1, name="wlp0s20f3", driver="iwlwifi", up=False, attached=False, hook="tc",
        why="the driver iwlwifi has no native XDP",
    ),
]  # fmt: skip


def test_interfaces(capsys: pytest.CaptureFixture[str]) -> None:
    print_interfaces(ROWS)
    assert (
        printed(capsys)
        == """\
interface  driver   link      MTU   hook          why not a better one
eth1       ixgbe    yes       1500  xdp-native
eth0       ena      yes       9001  tc            the MTU is larger than its XDP
                                                  takes
eth2       ?        no cable  1500  (xdp-native)  as far as the driver says
wlp0s20f3  iwlwifi  down      1500  (tc)          the driver iwlwifi has no
                                                  native XDP

A hook in brackets is what the interface could take; nothing is attached there.
"""
    )


def test_colour_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    print_status(Report(HEALTHY, {}))
    assert "\x1b[32mhealthy" in capsys.readouterr().out


def test_no_colour_where_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    print_status(Report(HEALTHY, {}))
    assert "\x1b[32m" not in capsys.readouterr().out
