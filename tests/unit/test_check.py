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
    NICS,
    ROUTE,
    ROUTE6,
    SPAN,
    SPAN_SOURCE,
    T_METERS,
    T_METERS6,
    UPLINK,
    a_host,
    file,
    with_nic,
)

ROOM = replace(HOST, route=replace(ROUTE, path_mtu=9000))  # where no frame exceeds the path
SHARED = SPAN_SOURCE.replace("}", ", shared: true}")
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


def complaint(host: Host, *sources: str, t_meters: str = T_METERS) -> str:
    """All but the place, of the only one."""
    with pytest.raises(InputError) as error:
        check(file(*sources, t_meters=t_meters), host)
    place, _, words = str(error.value).partition(": ")
    assert place.startswith("c.yaml:")
    assert "\n" not in words
    return words


# One NIC for two things


def test_a_span_nic_with_an_address() -> None:
    host = quiet(addresses=("192.0.2.9/24",))
    assert complaint(host, SPAN_SOURCE) == (
        "sources[0].interface: eth1 has the address 192.0.2.9/24, by which this host would no longer be "
        "reached; use a NIC without an address, or write shared: true"
    )
    assert check(file(SHARED), host) == ()


def test_a_span_nic_that_is_the_way_to_the_t_meter() -> None:
    host = roomy(with_nic(UPLINK, features=QUIET))
    assert complaint(host, SPAN_SOURCE.replace("eth1", "eth0")) == (
        "sources[0].interface: eth0 is also the way to the t-meter; use another NIC, or write shared: true"
    )
    assert check(file(SHARED.replace("eth1", "eth0")), host) == ()


def test_a_nic_that_is_the_only_one() -> None:
    (uplink, *_) = NICS
    only = a_host((replace(uplink, features=QUIET, addresses=("192.0.2.1/24", "2001:db8::1/64")),))
    assert check(file(SHARED.replace("eth1", "eth0")), roomy(only)) == ()


def test_a_shared_nic_with_nothing_to_share() -> None:
    assert check(file(SHARED), quiet()) == (
        (
            "source pbx: eth1 has no address and is not the way to the t-meter: nothing of this host's is "
            "there to share, so shared: true can go"
        ),
    )


@pytest.mark.parametrize("mac", ["", "00:00:00:00:00:00"])
def test_a_shared_nic_that_cannot_tell_what_is_for_this_host(mac: str) -> None:
    assert complaint(quiet(mac=mac, addresses=("192.0.2.9/24",)), SHARED) == (
        "sources[0].interface: eth1 has no MAC address, by which frames for this host could be told from "
        "mirrored ones; use another NIC, or remove shared: true"
    )


BY_MAC = '{mac: "02:00:00:00:00:02"}'  # eth0


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            "type: span, interface: eth0, shared: true",
            f"type: vxlan, interface: {BY_MAC}",
            "takes everything that this interface receives; give each its own",
        ),
        (
            f"type: gre, interface: {BY_MAC}",
            "type: span, interface: eth0, shared: true",
            "uses this interface too, and a span source needs all of it; give each its own",
        ),
        (
            "type: geneve, interface: eth0, port: 4789",
            f"type: vxlan, interface: {BY_MAC}",
            "takes port 4789 from the same senders; change 'port' or 'from'",
        ),
        (
            f"type: ipip, interface: {BY_MAC}",
            "type: ipip, interface: eth0, from: [192.0.2.7]",
            "takes IP in IP from the same senders; change 'from'",
        ),
    ],
    ids=["span", "span-second", "port", "ipip"],
)
def test_one_nic_by_name_and_by_mac(first: str, second: str, words: str) -> None:
    sources = f"{{name: a, {first}}}", f"{{name: b, {second}}}"
    assert complaint(ROOM, *sources) == f"sources[1].interface: source 'a' {words}"


def test_one_nic_by_name_and_by_mac_for_different_traffic() -> None:
    sources = (CLOUD_SOURCE, f"{{name: b, type: geneve, interface: {BY_MAC}}}")
    assert check(file(*sources), ROOM) == ()


def test_one_nic_has_one_hook() -> None:
    second = f"{{name: b, type: gre, interface: {BY_MAC}, hook: tc}}"
    assert complaint(ROOM, CLOUD_SOURCE, second) == (
        "sources[1].hook: source 'aws' on eth0 says auto; one NIC has one hook: use the same"
    )


# Warnings


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


@pytest.mark.parametrize(("mtu", "warnings"), [(1569, 1), (1570, 0)])
def test_over_ipv6_the_path_has_to_be_twenty_bytes_wider(mtu: int, warnings: int) -> None:
    host = replace(quiet(), route=replace(ROUTE6, path_mtu=mtu))
    found = check(file(SPAN_SOURCE, t_meters=T_METERS6), host)
    warning = (
        "source pbx: the largest frames of eth1 (MTU 1500) need packets of 1570 bytes and the way to the "
        "t-meter takes 1569: they go in IP fragments"
    )
    assert found == (warning,) * warnings


# The way to the t-meter


@pytest.mark.parametrize(
    ("route", "what"),
    [
        (
            Route(refusal="this host has no route to it"),
            "the t-meter 'ohio' (203.0.113.10) cannot be reached: this host has no route to it",
        ),
        (replace(ROUTE, path_mtu=575), "the way to the t-meter takes packets of 575 bytes only"),
        (replace(ROUTE6, path_mtu=1279), "the way to the t-meter takes packets of 1279 bytes only"),
    ],
)
def test_a_way_to_the_t_meter_that_is_of_no_use(route: Route, what: str) -> None:
    with pytest.raises(HostError) as refusal:
        check(file(SPAN_SOURCE), replace(quiet(), route=route))
    assert refusal.value.what == what
    assert refusal.value.hint


@pytest.mark.parametrize("route", [replace(ROUTE, path_mtu=576), replace(ROUTE6, path_mtu=1280)])
def test_the_smallest_way_that_will_do(route: Route) -> None:
    assert check(file(CLOUD_SOURCE), replace(HOST, route=route)) == ()


@pytest.mark.parametrize(("route", "least"), [(ROUTE, 576), (ROUTE6, 1280)], ids=["ipv4", "ipv6"])
def test_what_the_way_has_to_take(route: Route, least: int) -> None:
    with pytest.raises(HostError) as refusal:
        check(file(CLOUD_SOURCE), replace(HOST, route=replace(route, path_mtu=least - 1)))
    assert refusal.value.hint.startswith(f"It must take {least} at least: look at the MTU of the NIC")


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
