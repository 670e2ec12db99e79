"""`apply` makes the kernel match the file, once; `plan` foretells it; the hook is chosen and explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collector.datapath import libbpf, maps, program
from tests.lib import snapshot
from tests.lib.box import Box
from tests.lib.fault import Fault
from tests.lib.snapshot import changed

OLD_KERNEL = Fault(tcx=False)
QUEUES = "veth: XDP expects number of rx queues not less than peer tx queues"  # the veth driver's words


def status(box: Box) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(box.quick("status", "--json").out)
    return told


def source(box: Box) -> dict[str, Any]:
    (only,) = status(box)["sources"]
    return dict(only)


def hook(box: Box) -> tuple[str, str]:
    told = source(box)
    return told["hook"], told["why"]


def interface(box: Box, name: str) -> tuple[str, str]:
    told = json.loads(box.quick("interfaces", "--json").out)["interfaces"]
    (here,) = [each for each in told if each["name"] == name]
    return here["hook"], here["why"]


def test_a_second_apply_changes_and_writes_nothing(box: Box) -> None:
    first = box.run("apply")
    assert (first.returncode, first.stdout.count("\n") > 1) == (0, True)
    before, links = box.snapshot(), snapshot.link_ids(box.pins)

    second = box.run("apply")
    assert (second.returncode, second.stdout) == (0, "nothing to change\n")
    assert box.good("plan") == "nothing to change\n"
    assert changed(before, box.snapshot()) == {}
    assert snapshot.link_ids(box.pins) == links
    assert box.quick("apply", fault=Fault("write")).code == 99, "it wrote"


@pytest.mark.parametrize(
    "edits",
    [
        (),
        (("vni: 12", "vni: 13"),),
        (("vni: 12", "vni: 13, hook: tc"),),
        (("name: pbx", "name: other"), ("192.0.2.2", "192.0.2.3")),
    ],
    ids=["first", "vni", "hook", "names"],
)
def test_plan_prints_what_apply_then_does(box: Box, edits: tuple[tuple[str, str], ...]) -> None:
    if edits:
        box.good("apply")
    box.write(*edits)

    foretold = box.quick("plan")
    done = box.quick("apply")
    assert (foretold.code, done.code) == (0, 0)
    assert foretold.out == done.out
    assert foretold.out != "nothing to change\n"
    assert box.quick("plan").out == "nothing to change\n"


def test_the_changes_of_a_first_apply_in_order(box: Box) -> None:
    assert box.good("apply").splitlines() == [
        "set lo ipv4.forwarding: 0 -> 1",
        "set eth1 rx-vlan-hw-parse: on -> off",
        "set eth1 rx-vlan-stag-hw-parse: on -> off",
        "set eth0 ipv4.arp_evict_nocarrier: 1 -> 0",
        "keep 192.0.2.2 resolved (ARP), by the kernel itself",
        "create the splitter, collector-tx and collector-rx",
        "load the program: pbx to ohio (192.0.2.2)",
        "count what the egress NIC does not take (kernel tracepoints)",
        "attach collector_tc to the splitter at tc ingress",
        "attach collector_tc to eth1 at tc ingress",
        "attach collector_pass to eth0 at XDP (native)",
        "attach collector_xdp to eth1 at XDP (native)",
        "set eth1 promiscuous: off -> on",
    ]


@pytest.mark.parametrize("applied", [False, True], ids=["blank", "applied"])
@pytest.mark.parametrize("command", ["check", "plan", "status", "interfaces", "metrics"])
def test_what_reads_changes_nothing(box: Box, command: str, applied: bool) -> None:
    if applied:
        assert box.quick("apply").code == 0
        box.write(("vni: 12", "vni: 13"))
    before = box.snapshot()

    assert box.quick(command, fault=Fault("write")).code == 99, "it wrote"
    assert changed(before, box.snapshot()) == {}


def test_a_changed_file_takes_effect_and_the_counters_go_on(box: Box) -> None:
    box.good("apply")
    assert box.forwarded() == 12
    box.write(("vni: 12", "vni: 13"))
    box.good("apply")

    assert box.forwarded() == 13
    told = status(box)
    assert (told["sources"][0]["frames"], told["t_meters"][0]["frames"]) == (2, 2)
    assert told["healthy"] is True


def test_a_source_with_another_name_counts_from_zero(box: Box) -> None:
    box.good("apply")
    assert box.forwarded() == 12
    box.write(("name: pbx", "name: other"))
    box.good("apply")

    assert box.forwarded() == 12
    assert (source(box)["name"], source(box)["frames"]) == ("other", 1)


def test_a_file_without_sources_takes_everything_away(box: Box) -> None:
    before = box.snapshot()
    box.good("apply")
    box.file.write_text("version: 1\n")
    box.good("apply")

    box.await_same(before)
    assert box.good("apply") == "nothing to change\n"


# Which hook, and why not a better one


def test_where_the_nic_can_it_is_native_xdp(box: Box) -> None:
    box.good("apply")
    assert (hook(box), interface(box, "eth1")) == (("xdp-native", ""), ("xdp-native", ""))


def test_the_file_may_say_tc(box: Box) -> None:
    box.write(("vni: 12", "vni: 12, hook: tc"))
    box.good("apply")
    assert source(box)["hook"] == "tc"
    assert box.forwarded() == 12
    assert "xdp" not in json.dumps(snapshot.pins(box.pins))


def cable_with_many_queues(box: Box) -> None:
    mirror_with_many_queues(box)
    box.cable_uplink()


def mirror_with_many_queues(box: Box) -> None:
    """A veth takes no XDP when its peer has more queues to send on than it has to receive on."""
    there = {"ifname": "eth1", "net_ns_fd": box.host._handle, "num_rx_queues": 1}
    box.switch.ipr.link("add", kind="veth", ifname="span0", num_tx_queues=4, peer=there)
    for machine, name in ((box.switch, "span0"), (box.host, "eth1")):
        machine.up(name)


def test_the_drivers_own_words_tell_why_not_xdp(bare_box: Box) -> None:
    box = bare_box
    cable_with_many_queues(box)
    box.good("apply")

    assert hook(box) == ("tc", QUEUES)
    assert interface(box, "eth1") == ("tc", QUEUES)
    assert f"not xdp-native: {QUEUES} received" in " ".join(box.good("status").split())
    assert box.forwarded() == 12
    assert box.good("apply") == "nothing to change\n"


def test_hook_xdp_takes_generic_xdp_where_the_driver_refuses(bare_box: Box) -> None:
    box = bare_box
    cable_with_many_queues(box)
    box.write(("vni: 12", "vni: 12, hook: xdp"))
    box.good("apply")

    assert hook(box) == ("xdp-generic", QUEUES)
    assert box.forwarded() == 12
    assert box.good("apply") == "nothing to change\n"
    box.good("remove")


def test_a_driver_without_xdp(box: Box) -> None:
    box.host.ipr.link(
        "add", kind="macvlan", ifname="span1", link=box.host.index("eth1"), macvlan_mode="passthru"
    )
    box.write(("eth1", "span1"))
    box.good("apply")

    why = "Underlying driver does not support XDP in native mode"  # the kernel's words
    assert hook(box) == ("tc", why)
    assert interface(box, "span1") == ("tc", why)


def test_jumbo_frames_do_not_cost_native_xdp(bare_box: Box) -> None:
    box = bare_box
    box.switch.link("span0", box.host, "eth1", mtu=9000)
    box.cable_uplink()
    box.good("apply")

    assert hook(box) == ("xdp-native", "")
    assert box.forwarded(9014) == 12


def test_an_egress_nic_that_takes_no_redirected_frames(box: Box) -> None:
    """A veth takes them only if its peer has NAPI."""
    box.tmeter.features("eth0", {"rx-gro": False})
    box.good("apply")

    why = "it takes no redirected frames"
    assert hook(box) == ("tc", f"the egress NIC eth0: {why}")
    assert interface(box, "eth0") == ("tc", why)
    assert box.forwarded() == 12


# Before Linux 6.6 there is no tcx


def test_without_tcx_the_program_is_a_filter(box: Box) -> None:
    before = box.snapshot()
    box.write(("vni: 12", "vni: 12, hook: tc"))
    applied = box.quick("apply", fault=OLD_KERNEL)
    assert applied.code == 0, applied.err
    assert "collector_tc" in box.host.run(["tc", "filter", "show", "dev", "eth1", "ingress"]).stdout
    assert box.forwarded() == 12
    assert box.quick("apply", fault=OLD_KERNEL).out == "nothing to change\n"

    box.write(("vni: 12", "vni: 13, hook: tc"))
    assert box.quick("apply", fault=OLD_KERNEL).code == 0
    assert box.forwarded() == 13
    assert box.quick("status", "--json", fault=OLD_KERNEL).code == 0
    assert source(box)["frames"] == 2

    assert box.quick("remove", fault=OLD_KERNEL).code == 0
    box.await_same(before)


def test_without_tcx_a_failed_change_is_undone(box: Box) -> None:
    box.write(("vni: 12", "vni: 12, hook: tc"))
    assert box.quick("apply", fault=OLD_KERNEL).code == 0
    before = box.snapshot()
    box.write(("vni: 12", "vni: 13, hook: tc"))

    assert box.quick("apply", fault=Fault("verify", tcx=False)).code == 1
    box.await_same(before)
    assert box.forwarded() == 12


def test_somebodys_clsact_and_filter_stay(box: Box) -> None:
    box.host.run(["tc", "qdisc", "add", "dev", "eth1", "clsact"])
    mine = ["ingress", "prio", "7", "protocol", "ip", "u32", "match", "u32", "0", "0", "flowid", "1:1"]
    box.host.run(["tc", "filter", "add", "dev", "eth1", *mine])
    before = box.snapshot()
    box.write(("vni: 12", "vni: 12, hook: tc"))

    assert box.quick("apply", fault=OLD_KERNEL).code == 0
    assert box.forwarded() == 12
    assert box.quick("remove", fault=OLD_KERNEL).code == 0
    box.await_same(before)


def test_somebodys_empty_clsact_stays(box: Box) -> None:
    box.host.run(["tc", "qdisc", "add", "dev", "eth1", "clsact"])
    before = box.snapshot()
    box.write(("vni: 12", "vni: 12, hook: tc"))

    assert box.quick("apply", fault=OLD_KERNEL).code == 0
    assert box.quick("remove", fault=OLD_KERNEL).code == 0
    box.await_same(before)


# Not ours, so hands off


def foreign_program() -> libbpf.Fd:
    loaded = libbpf.Object(program.OBJECT)
    loaded.set_max_entries("scratch", libbpf.possible_cpus())
    loaded.load()
    return loaded.program("collector_pass")


@pytest.mark.parametrize("wish", ["auto", "xdp"])
def test_another_programs_xdp_is_left_alone(box: Box, wish: str) -> None:
    box.write(("vni: 12", f"vni: 12, hook: {wish}"))
    with box.host.enter():
        link = libbpf.create_link(foreign_program(), box.host.index("eth1"), libbpf.XDP, libbpf.XDP_NATIVE)
    theirs = libbpf.link_info(link).program_id
    before = box.snapshot()

    done = box.run("apply")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"collector: another program (id {theirs}) is attached to eth1 at XDP\n"
        "  Detach it: ip link set dev eth1 xdp off (or xdpgeneric off); or set hook: tc.\n"
    )
    assert changed(before, box.snapshot()) == {}

    box.write(("vni: 12", "vni: 12, hook: tc"))
    assert "another program is attached to eth1 at XDP" in box.run("apply").stderr
    assert box.forwarded() == 12
    box.good("remove")
    box.await_same(before)


def test_the_maps_that_are_kept_are_the_same_after_a_change(box: Box) -> None:
    def kept() -> dict[str, int]:
        return {name: maps.info_of(pinned(box.pins / name)).id for name in program.KEPT_MAPS}

    box.good("apply")
    before = kept()
    box.write(("vni: 12", "vni: 13"))
    box.good("apply")
    assert kept() == before


def pinned(path: Path) -> libbpf.Fd:
    fd = libbpf.pinned(path)
    assert fd is not None
    return fd
