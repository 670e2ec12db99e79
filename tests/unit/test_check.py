"""A right file may still be wrong for this host, or worth a warning."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from collector.control.check import check
from collector.control.host import Host
from collector.control.state import State
from collector.datapath.tmeter import NO_ROUTE, Route
from collector.errors import HostError, InputError
from tests.lib.hosts import (
    CLOUD_SOURCE,
    FEATURES,
    FIXED_ON,
    HOST,
    ROUTE,
    SPAN,
    SPAN_SOURCE,
    T_METERS,
    UPLINK,
    file,
    with_nic,
)

ROOM = replace(HOST, route=replace(ROUTE, path_mtu=9000))  # where no frame exceeds the path
QUIET = {"rx-gro": FEATURES["rx-gro"]}


def roomy(host: Host) -> Host:
    return replace(host, route=ROOM.route)


def quiet(**other: object) -> Host:
    """The span NIC can have all its offloads switched off."""
    return roomy(with_nic(SPAN, features=QUIET, **other))


def test_nothing_to_warn_of() -> None:
    assert check(file(SPAN_SOURCE), quiet()) == ()
    assert check(file(CLOUD_SOURCE), ROOM) == ()


def test_a_blank_file_is_good_on_any_host() -> None:
    blank = replace(HOST, nics=(), route=NO_ROUTE)
    assert check(file(t_meters=""), blank) == ()


@pytest.mark.parametrize(
    ("host", "source", "warning"),
    [
        (
            quiet(up=True, carrier=False),
            SPAN_SOURCE,
            "source pbx: eth1 has no link; is the cable in?",
        ),
        (roomy(with_nic(UPLINK, up=False)), CLOUD_SOURCE, "source aws: eth0 is down; nothing arrives there"),
        (
            roomy(with_nic(SPAN, features={"rx-vlan-filter": FIXED_ON})),
            SPAN_SOURCE,
            "source pbx: the driver of eth1 cannot switch rx-vlan-filter off: VLAN tags can be lost",
        ),
        (
            roomy(with_nic(SPAN, features={"rx-lro": FIXED_ON})),
            SPAN_SOURCE,
            "source pbx: the driver of eth1 cannot switch rx-lro off: several frames can arrive as one",
        ),
        (
            quiet(xdp_program=7),
            SPAN_SOURCE.replace("}", ", hook: tc}"),
            "source pbx: another program is attached to eth1 at XDP, and sees frames first",
        ),
    ],
    ids=["cable", "down", "vlan", "lro", "program"],
)
def test_one_warning(host: Host, source: str, warning: str) -> None:
    assert check(file(source), host) == (warning,)


@pytest.mark.parametrize(
    ("oversize", "action"),
    [("fragment", "go in IP fragments"), ("slice", "are cut"), ("drop", "are dropped")],
)
def test_frames_larger_than_the_path(oversize: str, action: str) -> None:
    t_meters = T_METERS.replace("}", f", oversize: {oversize}}}")
    host = with_nic(SPAN, features=QUIET)
    assert check(file(SPAN_SOURCE, t_meters=t_meters), host) == (
        (
            "source pbx: the largest frames of eth1 (MTU 1500) need packets of 1550 bytes and the way to the "
            f"t-meter takes 1500: they {action}"
        ),
    )


@pytest.mark.parametrize(("mtu", "warnings"), [(1549, 1), (1550, 0)])
def test_the_path_is_wide_enough_from_the_last_byte_on(mtu: int, warnings: int) -> None:
    host = replace(quiet(), route=replace(ROUTE, path_mtu=mtu))
    assert len(check(file(SPAN_SOURCE), host)) == warnings


@pytest.mark.parametrize(
    ("route", "what"),
    [
        (
            Route(refusal="this host has no route to it"),
            "the t-meter 'ohio' (203.0.113.10) cannot be reached: this host has no route to it",
        ),
        (replace(ROUTE, path_mtu=575), "the way to the t-meter takes packets of 575 bytes only"),
    ],
)
def test_a_way_to_the_t_meter_that_is_of_no_use(route: Route, what: str) -> None:
    with pytest.raises(HostError) as refusal:
        check(file(SPAN_SOURCE), replace(quiet(), route=route))
    assert refusal.value.what == what
    assert refusal.value.hint


def test_the_smallest_way_that_will_do() -> None:
    assert check(file(CLOUD_SOURCE), replace(HOST, route=replace(ROUTE, path_mtu=576))) == ()


def test_another_programs_xdp_stands_in_the_way_and_ours_does_not() -> None:
    host = quiet(xdp_program=7)
    with pytest.raises(HostError, match=r"^another program \(id 7\) is attached to eth1 at XDP\n"):
        check(file(SPAN_SOURCE), host)
    ours = State(own_programs=frozenset({7}))
    assert check(file(SPAN_SOURCE), replace(host, state=ours)) == ()


def test_every_problem_is_told_at_once() -> None:
    address = IPv4Address("203.0.113.10")
    host = replace(
        with_nic(SPAN, addresses=("192.0.2.9/24",)), route=Route(refusal="it is an address of this host")
    )
    sources = (SPAN_SOURCE, "{name: lab, type: span, interface: eth9}")
    with pytest.raises(InputError) as error:
        check(file(*sources), host)
    lines = [line for line in str(error.value).splitlines() if line.startswith("c.yaml:")]
    assert [line.split(": ")[:2] for line in lines] == [
        ["c.yaml:2:46", "sources[0].interface"],
        ["c.yaml:2:88", "sources[1].interface"],
        ["c.yaml:3:34", "t_meters[0].address"],
    ]
    assert f"{address} is an address of this host; write the t-meter's own address" in str(error.value)
