"""From a configuration and a host to the exact list of changes, without asking any kernel."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from collector.control.hooks import Choice, choose_hook, source_nics
from collector.control.host import Host
from collector.control.models import Config
from collector.control.notes import Notes, Refusal, Tuning
from collector.control.plan import Plan, plan, wanted_state
from collector.control.state import AT_SPLITTER, Place
from collector.datapath import nic
from collector.datapath import settings as told
from collector.datapath.attach import Hook
from collector.datapath.settings import MAX_SOURCES, Oversize, Settings, SourceType, VniRule
from collector.datapath.splitter import Splitter
from tests.lib.hosts import (
    CLOUD_SOURCE,
    FEATURES,
    FORWARDING,
    FORWARDING6,
    GATEWAY,
    HOST,
    NETNS,
    NICS,
    OFF,
    ROUTE,
    ROUTE6,
    SPAN,
    SPAN_SOURCE,
    SPARE,
    T_METERS,
    T_METERS6,
    UPLINK,
    a_host,
    config,
    with_nic,
)

# What the first apply of SPAN_SOURCE does on HOST.
FIRST = [
    "set lo ipv4.forwarding: 0 -> 1",
    "set eth0 rx-gro-hw: on -> off",
    "set eth0 ipv4.arp_evict_nocarrier: 1 -> 0",
    "set eth1 rx-gro: on -> off",
    "set eth1 rx-gro-hw: on -> off",
    "set eth1 rx-vlan-hw-parse: on -> off",
    "set eth1 ipv6.disable_ipv6: 0 -> 1",
    "keep 192.0.2.254 resolved (ARP), by the kernel itself",
    "create the splitter, collector-tx and collector-rx",
    "load the program: pbx to ohio (203.0.113.10)",
    "count what the egress NIC does not take (kernel tracepoints)",
    "attach collector_tc to the splitter at tc ingress",
    "attach collector_tc to eth1 at tc ingress",
    "attach collector_pass to eth0 at XDP (native)",
    "attach collector_xdp to eth1 at XDP (native)",
    "set eth1 promiscuous: off -> on",
    "set eth1 up: off -> on",
]
LATE = FIRST[-2:]
HOST6 = replace(HOST, route=ROUTE6)
SHARED = SPAN_SOURCE.replace("}", ", shared: true}")
ANY = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


def after(made: Plan, host: Host) -> Host:
    """The host once the plan is carried out."""
    wanted = made.wanted
    origins = {key: host.notes.origins.get(key, host.tunings[key]) for key in wanted.tunings}
    stale = {key: value for key, value in host.notes.origins.items() if key not in wanted.tunings}
    running = wanted.settings is not None
    return replace(
        host,
        tunings={**host.tunings, **stale, **wanted.tunings},
        splitter=Splitter(90, 91) if running else None,
        notes=replace(host.notes, origins=origins, digest=wanted.digest, neighbour=wanted.neighbour),
        state=wanted,
    )


def words(made: Plan) -> list[str]:
    return [change.describe() for change in made.changes]


def applied(*sources: str, host: Host = HOST) -> Host:
    return after(plan(config(*sources), host), host)


# The list of changes


def test_a_first_apply() -> None:
    assert words(plan(config(SPAN_SOURCE), HOST)) == FIRST


def test_a_second_plan_is_empty() -> None:
    for sources in ([SPAN_SOURCE], [CLOUD_SOURCE], [SPAN_SOURCE, CLOUD_SOURCE], []):
        host = applied(*sources)
        assert words(plan(config(*sources), host)) == []


def test_a_blank_file_on_a_blank_host_changes_nothing() -> None:
    assert words(plan(config(), HOST)) == []


def test_what_is_already_so_is_not_changed() -> None:
    ready = replace(NICS[1], up=True, promiscuous=True, features={"rx-gro": OFF})
    host = a_host((NICS[0], ready))
    host = replace(host, tunings={**host.tunings, FORWARDING: "1"})
    assert [line for line in words(plan(config(SPAN_SOURCE), host)) if line.startswith("set")] == [
        "set eth0 rx-gro-hw: on -> off",
        "set eth0 ipv4.arp_evict_nocarrier: 1 -> 0",
        "set eth1 ipv6.disable_ipv6: 0 -> 1",
    ]


def test_only_what_the_driver_lets_be_changed_is_tuned() -> None:
    wanted = plan(config(SPAN_SOURCE), HOST).wanted.tunings
    touched = {key.name for key in wanted if (key.ifindex, key.kind) == (SPAN, "feature")}
    assert touched == {name for name, feature in FEATURES.items() if feature.changeable} & set(nic.ALTERING)


def test_a_cloud_source_leaves_its_nic_as_it_is_but_for_what_xdp_needs() -> None:
    assert words(plan(config(CLOUD_SOURCE), HOST)) == [
        "set lo ipv4.forwarding: 0 -> 1",
        "set eth0 rx-gro-hw: on -> off",
        "set eth0 ipv4.arp_evict_nocarrier: 1 -> 0",
        "keep 192.0.2.254 resolved (ARP), by the kernel itself",
        "create the splitter, collector-tx and collector-rx",
        "load the program: aws to ohio (203.0.113.10)",
        "count what the egress NIC does not take (kernel tracepoints)",
        "attach collector_tc to the splitter at tc ingress",
        "attach collector_tc to eth0 at tc ingress",
        "attach collector_xdp to eth0 at XDP (native)",
    ]


def test_a_changed_vni_switches_every_place_to_the_new_program() -> None:
    changed = config(SPAN_SOURCE.replace("}", ", vni: 99}"))
    assert words(plan(changed, applied(SPAN_SOURCE))) == [
        "replace the program: pbx to ohio (203.0.113.10)",
        "count what the egress NIC does not take (kernel tracepoints)",
        "switch the splitter at tc ingress to the new program",
        "switch eth1 at tc ingress to the new program",
        "switch eth0 at XDP (native) to the new program",
        "switch eth1 at XDP (native) to the new program",
    ]


def test_an_upgraded_program_is_switched_to() -> None:
    host = replace(applied(SPAN_SOURCE), build="b2")
    assert "switch eth1 at XDP (native) to the new program" in words(plan(config(SPAN_SOURCE), host))


def test_another_hook_detaches_what_is_not_wanted_any_more_and_puts_back_its_tuning() -> None:
    to_tc = config(SPAN_SOURCE.replace("}", ", hook: tc}"))
    assert words(plan(to_tc, applied(SPAN_SOURCE))) == [
        "detach from eth1 at XDP (native)",
        "detach from eth0 at XDP (native)",
        "set eth0 rx-gro-hw: off -> on",
    ]


def test_from_generic_to_native_xdp_the_old_goes_before_the_new_comes() -> None:
    refused = Notes(refusals=(Refusal(SPAN, "source", 1500, "no"),))
    generic = SPAN_SOURCE.replace("}", ", hook: xdp}")
    host = applied(generic, host=a_host(notes=refused))
    assert Place(SPAN, Hook.XDP_GENERIC) in host.state.programs
    host = replace(host, notes=replace(host.notes, refusals=()))

    made = words(plan(config(generic), host))
    assert made[-2:] == ["detach from eth1 at XDP (generic)", "attach collector_xdp to eth1 at XDP (native)"]


def test_another_t_meter_is_kept_resolved_before_the_switch_and_the_old_forgotten_after() -> None:
    other = replace(ROUTE, address=IPv4Address("203.0.113.11"), next_hop=IPv4Address("192.0.2.253"))
    host = replace(applied(SPAN_SOURCE), route=other)
    moved = config(SPAN_SOURCE, t_meters="t_meters: [{name: iowa, address: 203.0.113.11}]")
    assert words(plan(moved, host)) == [
        "keep 192.0.2.253 resolved (ARP), by the kernel itself",
        "replace the program: pbx to iowa (203.0.113.11)",
        "count what the egress NIC does not take (kernel tracepoints)",
        "switch the splitter at tc ingress to the new program",
        "switch eth1 at tc ingress to the new program",
        "switch eth0 at XDP (native) to the new program",
        "switch eth1 at XDP (native) to the new program",
        "keep 192.0.2.254 resolved no longer",
    ]


def test_remove_takes_back_in_the_opposite_order() -> None:
    """No mirrored frame reaches the host meanwhile: the NIC stops listening before the program goes."""
    host = applied(SPAN_SOURCE)
    assert words(plan(Config(), host)) == [
        "set eth1 promiscuous: on -> off",
        "set eth1 up: on -> off",
        "detach from eth1 at XDP (native)",
        "detach from eth0 at XDP (native)",
        "detach from eth1 at tc ingress",
        "detach from the splitter at tc ingress",
        "keep 192.0.2.254 resolved no longer",
        "set lo ipv4.forwarding: 1 -> 0",
        "set eth0 rx-gro-hw: off -> on",
        "set eth0 ipv4.arp_evict_nocarrier: 0 -> 1",
        "set eth1 rx-gro: off -> on",
        "set eth1 rx-gro-hw: off -> on",
        "set eth1 rx-vlan-hw-parse: off -> on",
        "set eth1 ipv6.disable_ipv6: 1 -> 0",
        "remove the splitter, collector-tx and collector-rx",
    ]
    assert words(plan(Config(), after(plan(Config(), host), host))) == []


def test_a_nic_that_is_gone_has_no_tunings_to_put_back() -> None:
    host = applied(SPAN_SOURCE)
    left = {key: value for key, value in host.tunings.items() if key.ifindex != SPAN}
    host = replace(host, nics=(NICS[0], NICS[2]), tunings=left)
    assert not [line for line in words(plan(Config(), host)) if line.startswith("set eth1")]


@pytest.mark.parametrize(
    ("lost", "mended"),
    [
        (Place(SPAN, Hook.XDP_NATIVE), "attach collector_xdp to eth1 at XDP (native)"),
        (Place(SPAN, Hook.TC), "attach collector_tc to eth1 at tc ingress"),
        (Place(UPLINK, Hook.XDP_NATIVE), "attach collector_pass to eth0 at XDP (native)"),
        (Place(AT_SPLITTER, Hook.TC), "attach collector_tc to the splitter at tc ingress"),
    ],
)
def test_what_somebody_detached_is_attached_again(lost: Place, mended: str) -> None:
    host = applied(SPAN_SOURCE)
    left = {place: name for place, name in host.state.programs.items() if place != lost}
    made = words(plan(config(SPAN_SOURCE), replace(host, state=replace(host.state, programs=left))))
    assert [line for line in made if line.startswith("attach")] == [mended]


def test_a_sysctl_that_somebody_reset_is_set_again_and_nothing_else() -> None:
    host = applied(SPAN_SOURCE)
    host = replace(host, tunings={**host.tunings, FORWARDING: "0"})
    assert words(plan(config(SPAN_SOURCE), host)) == ["set lo ipv4.forwarding: 0 -> 1"]


def test_a_kernel_without_tracepoints_is_not_asked_for_them() -> None:
    made = words(plan(config(SPAN_SOURCE), replace(HOST, losses=False)))
    assert made == [line for line in FIRST if "tracepoints" not in line]


@pytest.mark.parametrize("what", ["losses", "counters", "splitter"])
def test_what_somebody_took_away_is_made_again_with_a_new_program(what: str) -> None:
    host = applied(SPAN_SOURCE)
    host = replace(host, state=replace(host.state, **{what: False}))  # type: ignore[arg-type]
    made = words(plan(config(SPAN_SOURCE), host))
    assert made[:1] == (
        ["create the splitter, collector-tx and collector-rx"] if what == "splitter" else made[:1]
    )
    assert "switch eth1 at XDP (native) to the new program" in made


def test_over_ipv6_its_own_settings_and_neighbour_discovery() -> None:
    assert words(plan(config(SPAN_SOURCE, t_meters=T_METERS6), HOST6)) == [
        "set lo ipv6.forwarding: 0 -> 1",
        "set eth0 rx-gro-hw: on -> off",
        "set eth0 ipv6.ndisc_evict_nocarrier: 1 -> 0",
        *FIRST[3:7],
        "keep fe80::1 resolved (neighbour discovery), by the kernel itself",
        "create the splitter, collector-tx and collector-rx",
        "load the program: pbx to ohio (2001:db8:7::10)",
        *FIRST[10:],
    ]


def test_from_ipv4_to_ipv6_and_back() -> None:
    over_ipv6 = config(SPAN_SOURCE, t_meters=T_METERS6)
    host = replace(applied(SPAN_SOURCE), route=ROUTE6)
    assert words(plan(over_ipv6, host)) == [
        "set lo ipv6.forwarding: 0 -> 1",
        "set eth0 ipv6.ndisc_evict_nocarrier: 1 -> 0",
        "keep fe80::1 resolved (neighbour discovery), by the kernel itself",
        "replace the program: pbx to ohio (2001:db8:7::10)",
        "count what the egress NIC does not take (kernel tracepoints)",
        "switch the splitter at tc ingress to the new program",
        "switch eth1 at tc ingress to the new program",
        "switch eth0 at XDP (native) to the new program",
        "switch eth1 at XDP (native) to the new program",
        "keep 192.0.2.254 resolved no longer",
        "set lo ipv4.forwarding: 1 -> 0",
        "set eth0 ipv4.arp_evict_nocarrier: 0 -> 1",
    ]
    host = replace(after(plan(over_ipv6, host), host), route=ROUTE)
    assert words(plan(config(SPAN_SOURCE), host))[-1] == "set eth0 ipv6.ndisc_evict_nocarrier: 0 -> 1"


def test_a_shared_nic_keeps_ipv6_and_both_families_are_asked_for_its_addresses() -> None:
    made = words(plan(config(SHARED), HOST))
    assert made[:2] == ["set lo ipv4.forwarding: 0 -> 1", "set lo ipv6.forwarding: 0 -> 1"]
    assert [line for line in made if "disable_ipv6" in line] == []
    assert made[1:] == ["set lo ipv6.forwarding: 0 -> 1", *(x for x in FIRST[1:] if "disable_ipv6" not in x)]


def test_a_kernel_without_ipv6_is_not_asked_to_forward_it() -> None:
    left = {key: value for key, value in HOST.tunings.items() if not key.name.startswith("ipv6.")}
    made = plan(config(SHARED), replace(HOST, tunings=left))
    assert [line for line in words(made) if "ipv6" in line] == []


def test_a_nic_that_is_shared_and_the_way_to_the_t_meter() -> None:
    one_nic = SHARED.replace("eth1", "eth0")
    made = wanted_state(config(one_nic), HOST)
    assert made.programs == {
        Place(AT_SPLITTER, Hook.TC): "collector_tc",
        Place(UPLINK, Hook.TC): "collector_tc",
        Place(UPLINK, Hook.XDP_NATIVE): "collector_xdp",
    }
    assert made.tunings == {
        FORWARDING: "1",
        FORWARDING6: "1",
        Tuning(UPLINK, "sysctl", "ipv4.arp_evict_nocarrier"): "0",
        Tuning(UPLINK, "flag", "promiscuous"): "on",
        Tuning(UPLINK, "flag", "up"): "on",
        **{
            Tuning(UPLINK, "feature", name): "off"
            for name in FEATURES
            if name in nic.ALTERING and FEATURES[name].changeable
        },
    }
    assert words(plan(config(one_nic), applied(one_nic))) == []


# The order that keeps frames from the host and from being lost


def index(made: list[str], start: str) -> int:
    (found,) = [position for position, line in enumerate(made) if line.startswith(start)]
    return found


def test_the_nic_listens_only_once_the_program_is_there() -> None:
    made = words(plan(config(SPAN_SOURCE), HOST))
    assert made[-2:] == LATE
    assert index(made, "attach collector_tc to eth1") < index(made, "attach collector_xdp to eth1")
    assert index(made, "attach collector_pass to eth0") < index(made, "attach collector_xdp to eth1")
    assert index(made, "create the splitter") < index(made, "load the program")
    assert index(made, "keep 192.0.2.254") < index(made, "attach collector_tc to eth1")


@pytest.mark.parametrize("backwards", [False, True], ids=["as-read", "backwards"])
def test_what_goes_goes_sources_first(backwards: bool) -> None:
    """A program that redirects goes before the one that its frames come to, however the kernel lists them."""
    host = applied(SPAN_SOURCE)
    listed = sorted(host.state.programs.items(), key=lambda item: item[0], reverse=backwards)
    host = replace(host, state=replace(host.state, programs=dict(listed)))
    assert [line for line in words(plan(Config(), host)) if line.startswith("detach")] == [
        "detach from eth1 at XDP (native)",
        "detach from eth0 at XDP (native)",
        "detach from eth1 at tc ingress",
        "detach from the splitter at tc ingress",
    ]


# Which hook


def chosen(host: Host, source: str = SPAN_SOURCE) -> Choice:
    ((ifindex, sources),) = source_nics(config(source), host).items()
    return choose_hook(ifindex, sources, host)


def refused(ifindex: int, role: str, mtu: int = 1500) -> Host:
    return a_host(notes=Notes(refusals=(Refusal(ifindex, role, mtu, "the MTU is too large"),)))


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (with_nic(SPAN, xdp_features=0, driver="r8169"), "the driver r8169 has no native XDP"),
        (with_nic(SPAN, xdp_features=0, driver=""), "the driver of this interface has no native XDP"),
        (refused(SPAN, "source"), "the MTU is too large"),
        (with_nic(UPLINK, xdp_features=0), "the egress NIC eth0: the driver ixgbe has no native XDP"),
        (refused(UPLINK, "egress"), "the egress NIC eth0: the MTU is too large"),
        (refused(UPLINK, "source"), "the egress NIC eth0: the MTU is too large"),
    ],
    ids=["driver", "unnamed-driver", "refusal", "egress-driver", "egress-refusal", "egress-attach"],
)
@pytest.mark.parametrize(("wish", "hook"), [("auto", Hook.TC), ("xdp", Hook.XDP_GENERIC)])
def test_what_stands_in_the_way_of_native_xdp(host: Host, why: str, wish: str, hook: Hook) -> None:
    assert chosen(host, SPAN_SOURCE.replace("}", f", hook: {wish}}}")) == Choice(hook, why)


@pytest.mark.parametrize(
    "host",
    [HOST, with_nic(SPAN, xdp_features=None), refused(SPAN, "source", 9000), refused(SPARE, "source")],
    ids=["able", "silent-driver", "refusal-at-another-mtu", "refusal-of-another-nic"],
)
@pytest.mark.parametrize("wish", ["auto", "xdp"])
def test_nothing_stands_in_the_way_of_native_xdp(host: Host, wish: str) -> None:
    assert chosen(host, SPAN_SOURCE.replace("}", f", hook: {wish}}}")) == Choice(Hook.XDP_NATIVE)


def test_the_file_may_ask_for_tc() -> None:
    assert chosen(HOST, SPAN_SOURCE.replace("}", ", hook: tc}")) == Choice(Hook.TC, "the file says hook: tc")


def test_one_nic_that_cannot_does_not_hold_back_the_other() -> None:
    host = with_nic(SPARE, xdp_features=0)
    other = "{name: lab, type: span, interface: eth2}"
    programs = wanted_state(config(SPAN_SOURCE, other), host).programs
    assert programs == {
        Place(AT_SPLITTER, Hook.TC): "collector_tc",
        Place(SPAN, Hook.TC): "collector_tc",
        Place(SPAN, Hook.XDP_NATIVE): "collector_xdp",
        Place(SPARE, Hook.TC): "collector_tc",
        Place(UPLINK, Hook.XDP_NATIVE): "collector_pass",
    }


def test_at_tc_nothing_is_attached_to_the_egress_nic() -> None:
    programs = wanted_state(config(SPAN_SOURCE.replace("}", ", hook: tc}")), HOST).programs
    assert programs == {Place(AT_SPLITTER, Hook.TC): "collector_tc", Place(SPAN, Hook.TC): "collector_tc"}


def test_a_nic_that_is_both_source_and_egress_has_one_program() -> None:
    programs = wanted_state(config(CLOUD_SOURCE), HOST).programs
    assert programs[Place(UPLINK, Hook.XDP_NATIVE)] == "collector_xdp"


@pytest.mark.parametrize(
    ("host", "wish", "asked"),
    [
        (HOST, "auto", ()),
        (with_nic(SPAN, xdp_features=0), "auto", (SPAN,)),
        (with_nic(SPAN, xdp_features=0), "xdp", (SPAN,)),
        (with_nic(SPAN, xdp_features=0), "tc", ()),
        (refused(SPAN, "source"), "auto", ()),
    ],
    ids=["able", "auto", "xdp", "tc", "told"],
)
def test_which_driver_is_asked_why_it_has_no_xdp(host: Host, wish: str, asked: tuple[int, ...]) -> None:
    """One whose features say that it has none, whose own words are not known yet, and where it matters."""
    assert plan(config(SPAN_SOURCE.replace("}", f", hook: {wish}}}")), host).to_ask == asked


# What the program is told


def settings(*sources: str, host: Host = HOST) -> Settings:
    made = wanted_state(config(*sources), host).settings
    assert made is not None
    return made


def test_a_span_source() -> None:
    (source,) = settings(SPAN_SOURCE.replace("}", ", vni: 77, vlan: strip}")).sources
    assert source == told.Source(0, "pbx", SourceType.SPAN, SPAN, VniRule.FIXED, 77, strip_vlan=True)


@pytest.mark.parametrize("shared", [True, False])
def test_a_span_source_with_an_rspan_vlan_on_a_shared_nic(shared: bool) -> None:
    more = f", rspan_vlan: 900, shared: {str(shared).lower()}}}"
    (source,) = settings(SPAN_SOURCE.replace("}", more)).sources
    assert source == told.Source(
        0, "pbx", SourceType.SPAN, SPAN, VniRule.FIXED, 12,
        rspan_vlan=900, shared_mac="02:00:00:00:00:03" if shared else "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "rule", "vni", "port"),
    [
        ("vxlan", VniRule.KEEP, None, 4789),
        ("geneve", VniRule.KEEP, None, 6081),
        ("erspan", VniRule.KEEP, None, 0),
        ("gre", VniRule.FIXED, 12, 0),
        ("tzsp", VniRule.FIXED, 12, 37008),
        ("ipip", VniRule.FIXED, 12, 0),
    ],
)
def test_a_tunnel_source(kind: str, rule: VniRule, vni: int | None, port: int) -> None:
    (source,) = settings(CLOUD_SOURCE.replace("vxlan", kind)).sources
    assert source == told.Source(
        0, "aws", SourceType[kind.upper()], UPLINK, rule, vni, port=port, senders=ANY
    )


@pytest.mark.parametrize(
    ("said", "rule", "vni", "entries"),
    [
        ("keep", VniRule.KEEP, None, ()),
        ("7", VniRule.FIXED, 7, ()),
        ("{18: 102, 17: 101, default: 12}", VniRule.MAP, 12, ((17, 101), (18, 102))),
        ("{17: 101}", VniRule.MAP, None, ((17, 101),)),
    ],
)
def test_the_vni_of_a_cloud_source(
    said: str, rule: VniRule, vni: int | None, entries: tuple[tuple[int, int], ...]
) -> None:
    (source,) = settings(CLOUD_SOURCE.replace("}", f", vni: {said}}}")).sources
    assert (source.vni_rule, source.vni, source.vni_map) == (rule, vni, entries)


def test_senders_are_sorted_and_default_to_any() -> None:
    some = CLOUD_SOURCE.replace("}", ", port: 4790, from: [198.51.100.0/24, 192.0.2.0/24]}")
    (source,) = settings(some).sources
    assert (source.port, source.senders) == (
        4790,
        (IPv4Network("192.0.2.0/24"), IPv4Network("198.51.100.0/24")),
    )
    (source,) = settings(CLOUD_SOURCE).sources
    assert (source.port, source.senders) == (4789, ANY)


def test_the_t_meter_is_what_the_file_and_the_route_say() -> None:
    t_meters = T_METERS.replace("ohio", "x").replace("}", ", port: 8, oversize: slice}")
    made = wanted_state(config(SPAN_SOURCE, t_meters=t_meters), HOST)
    assert made.settings is not None
    assert made.settings.tmeter == told.TMeter(
        "x", ROUTE.source, ROUTE.address, 8, 1500, Oversize.SLICE, UPLINK
    )
    assert (made.settings.netns, made.neighbour) == (NETNS, GATEWAY)


def test_senders_of_both_families_ipv4_first() -> None:
    (source,) = settings(CLOUD_SOURCE.replace("}", ', from: ["2001:db8::/32", 192.0.2.7]}')).sources
    assert source.senders == (IPv4Network("192.0.2.7/32"), IPv6Network("2001:db8::/32"))


@pytest.mark.parametrize(
    ("host", "t_meters", "said", "checksum"),
    [
        (HOST6, T_METERS6, "", True),
        (HOST6, T_METERS6, ", udp_checksum: false", False),
        (HOST, T_METERS, "", False),
        (HOST, T_METERS, ", udp_checksum: true", False),
    ],
    ids=["ipv6", "ipv6-without", "ipv4", "ipv4-with"],
)
def test_the_udp_checksum_is_for_ipv6_alone(host: Host, t_meters: str, said: str, checksum: bool) -> None:
    made = wanted_state(config(SPAN_SOURCE, t_meters=t_meters.replace("}", f"{said}}}")), host).settings
    assert made is not None
    assert made.tmeter.udp_checksum is checksum


def test_a_t_meter_by_name_is_what_the_route_leads_to() -> None:
    by_name = "t_meters: [{name: ohio, address: tm.example.net}]"
    made = wanted_state(config(SPAN_SOURCE, t_meters=by_name), HOST6).settings
    assert made is not None
    assert made.tmeter == told.TMeter(
        "ohio", IPv6Address("2001:db8::1"), IPv6Address("2001:db8:7::10"), 4789, 1500, Oversize.FRAGMENT,
        UPLINK, udp_checksum=True,
    )  # fmt: skip


def test_a_nic_may_be_named_by_its_mac() -> None:
    by_mac = SPAN_SOURCE.replace("eth1", f'{{mac: "{NICS[1].mac.upper()}"}}')
    assert settings(by_mac) == settings(SPAN_SOURCE)


# Slots: a source's counters belong to its name


def slots(host: Host) -> dict[str, int]:
    assert host.state.settings is not None
    return {source.name: source.slot for source in host.state.settings.sources}


def cloud(name: str, port: int) -> str:
    return f"{{name: {name}, type: vxlan, interface: eth0, port: {port}}}"


def test_a_source_keeps_its_slot_by_name() -> None:
    host = applied(cloud("a", 1), cloud("b", 2), cloud("c", 3))
    assert slots(host) == {"a": 0, "b": 1, "c": 2}
    host = applied(cloud("c", 3), cloud("b", 2), host=host)
    assert slots(host) == {"b": 1, "c": 2}
    host = applied(cloud("new", 4), cloud("c", 5), host=host)
    assert (slots(host)["c"], slots(host)["new"] in (1, 2)) == (2, False)


def test_every_slot_can_be_given_a_new_name_at_once() -> None:
    host = applied(*(cloud(f"old{i}", i + 1) for i in range(MAX_SOURCES)))
    host = applied(*(cloud(f"new{i}", i + 1) for i in range(MAX_SOURCES)), host=host)
    assert sorted(slots(host).values()) == list(range(MAX_SOURCES))
