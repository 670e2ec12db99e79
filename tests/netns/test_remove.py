"""`remove` leaves nothing, whatever was done to what it has to take away."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from collector.operate.lab import Namespace, wait_for
from tests.lib import snapshot
from tests.lib.box import Box
from tests.lib.fault import Fault
from tests.lib.snapshot import still_there

NOTHING = "there is nothing to remove\n"
OLD_KERNEL = Fault(tcx=False)


def start_up_and_listening_to_all(host: Namespace) -> None:
    host.run(["ip", "link", "set", "dev", "eth1", "promisc", "on"])


def start_down(host: Namespace) -> None:
    host.down("eth1")


def start_with_offloads_on(host: Namespace) -> None:
    host.features("eth1", {"rx-gro": True, "rx-gro-list": True, "rx-vlan-hw-parse": False})


def start_with_ipv6(host: Namespace) -> None:
    for name in ("all", "default", "eth0", "eth1"):
        host.sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 0)
    wait_for(lambda: "fe80" in host.run(["ip", "addr", "show", "eth1"]).stdout, "an IPv6 address")


def start_forwarding(host: Namespace) -> None:
    host.sysctl("net.ipv4.ip_forward", 1)
    host.sysctl("net.ipv4.conf.eth0.arp_evict_nocarrier", 0)


STARTS = (
    start_up_and_listening_to_all,
    start_down,
    start_with_offloads_on,
    start_with_ipv6,
    start_forwarding,
)


@pytest.mark.parametrize("hook", ["xdp", "tc"])
@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.__name__.removeprefix("start_"))
def test_everything_is_as_it_was_before(box: Box, start: Callable[[Namespace], None], hook: str) -> None:
    start(box.host)
    before = box.snapshot()
    box.write(("vni: 12", f"vni: 12, hook: {hook}"))
    assert box.quick("apply").code == 0
    assert box.forwarded() == 12

    assert box.quick("remove").code == 0
    box.await_same(before)


def test_after_several_changes_it_is_still_the_first_state_that_comes_back(box: Box) -> None:
    before = box.snapshot()
    box.tmeter.address("eth0", "192.0.2.3/24")
    for edits in ((), (("vni: 12", "vni: 12, hook: tc"),), (("192.0.2.2", "192.0.2.3"),), ()):
        box.write(*edits)
        assert box.quick("apply").code == 0

    assert box.quick("remove").code == 0
    box.await_same(before)


def test_the_kernel_holds_no_program_map_or_link_of_ours_any_more(box: Box) -> None:
    box.good("apply")
    ours = snapshot.bpf_objects(box.pins)
    links = {("link", number) for number in snapshot.link_ids(box.pins).values()}
    assert still_there(ours | links) == ours | links

    box.good("remove")
    wait_for(lambda: not still_there(ours | links), "the kernel to free the programs", timeout=5)
    assert not box.pins.exists()


def test_where_nothing_is_nothing_is_removed(box: Box) -> None:
    before = box.snapshot()
    assert box.good("remove") == NOTHING
    box.good("apply")
    assert box.good("remove") != NOTHING
    again = box.run("remove")
    assert (again.returncode, again.stdout, again.stderr) == (0, NOTHING, "")
    box.await_same(before)


def test_a_settings_that_somebody_changed_meanwhile_is_put_back_too(box: Box) -> None:
    before = box.snapshot()
    box.good("apply")
    box.host.run(["ip", "link", "set", "dev", "eth1", "promisc", "off"])
    box.host.features("eth1", {"rx-vlan-hw-parse": True})
    box.host.sysctl("net.ipv4.conf.lo.forwarding", 0)

    box.good("remove")
    box.await_same(before)


# What somebody may do to it


def delete_the_nic(box: Box) -> None:
    box.host.run(["ip", "link", "del", "eth1"])


def detach_xdp(box: Box) -> None:
    detach(box, "xdp", "eth1")


def detach_tc(box: Box) -> None:
    detach(box, "tc", "eth1")


def detach_egress(box: Box) -> None:
    detach(box, "xdp", "eth0")


def detach(box: Box, kind: str, name: str) -> None:
    pin = box.pins / f"{kind}_{box.host.index(name)}"
    assert snapshot.bpftool("link", "detach", "pinned", str(pin)) in ({}, None)


def unpin_xdp(box: Box) -> None:
    (box.pins / f"xdp_{box.host.index('eth1')}").unlink()


def unpin_tc(box: Box) -> None:
    (box.pins / f"tc_{box.host.index('eth1')}").unlink()


def unpin_counters(box: Box) -> None:
    (box.pins / "source_counters").unlink()


def unpin_tracepoint(box: Box) -> None:
    (box.pins / "collector_xmit").unlink()


def delete_the_splitter(box: Box) -> None:
    box.host.run(["ip", "link", "del", "collector-tx"])


def stop_the_splitter(box: Box) -> None:
    box.host.down("collector-rx")


def forget_the_neighbour(box: Box) -> None:
    box.host.run(["ip", "neigh", "del", "192.0.2.2", "dev", "eth0"])


def reset_forwarding(box: Box) -> None:
    box.host.sysctl("net.ipv4.conf.all.forwarding", 1)
    box.host.sysctl("net.ipv4.conf.all.forwarding", 0)


DAMAGES = (
    detach_xdp,
    detach_tc,
    detach_egress,
    unpin_xdp,
    unpin_tc,
    unpin_counters,
    unpin_tracepoint,
    delete_the_splitter,
    stop_the_splitter,
    forget_the_neighbour,
    reset_forwarding,
)
every_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


@every_damage
def test_remove_leaves_nothing_after(box: Box, damage: Callable[[Box], None]) -> None:
    before = box.snapshot()
    assert box.quick("apply").code == 0
    damage(box)

    removed = box.quick("remove")
    assert (removed.code, removed.err) == (0, "")
    box.await_same(before)


@every_damage
def test_apply_mends(box: Box, damage: Callable[[Box], None]) -> None:
    before = box.snapshot()
    assert box.quick("apply").code == 0
    damage(box)

    mended = box.quick("apply")
    assert mended.code == 0, mended.err
    assert mended.out != "nothing to change\n"
    assert box.forwarded() == 12
    assert box.quick("status", "--json").code == 0
    assert box.quick("apply").out == "nothing to change\n"

    assert box.quick("remove").code == 0
    box.await_same(before)


def test_the_nic_is_gone(box: Box) -> None:
    box.good("apply")
    delete_the_nic(box)

    removed = box.quick("remove")
    assert (removed.code, removed.err) == (0, "")
    after = box.snapshot()
    assert not box.pins.exists()
    assert [key for key in after if "collector" in key or key.startswith("neighbour")] == []
    assert after["sysctl net/ipv4/conf/lo/forwarding"] == "0"
    assert after["sysctl net/ipv4/conf/eth0/arp_evict_nocarrier"] == "1"
    assert "xdp" not in json.dumps(after["link eth0"])


def test_the_nic_is_gone_and_comes_back(box: Box) -> None:
    """As another interface of the same name: what is noted of the old one does not hold for it."""
    box.good("apply")
    delete_the_nic(box)
    box.switch.link("span0", box.host, "eth1")
    before = box.snapshot()

    box.good("apply")
    assert box.forwarded() == 12
    box.good("remove")
    after = box.snapshot()
    assert after["link eth1"] == before["link eth1"]
    assert not box.pins.exists()


def test_the_qdisc_is_gone(box: Box) -> None:
    """Before Linux 6.6, where the program is a filter of it."""
    before = box.snapshot()
    box.write(("vni: 12", "vni: 12, hook: tc"))
    assert box.quick("apply", fault=OLD_KERNEL).code == 0
    box.host.run(["tc", "qdisc", "del", "dev", "eth1", "clsact"])
    assert box.quick("status", "--json", fault=OLD_KERNEL).code == 1

    mended = box.quick("apply", fault=OLD_KERNEL)
    assert mended.code == 0, mended.err
    assert box.forwarded() == 12
    box.host.run(["tc", "qdisc", "del", "dev", "eth1", "clsact"])
    assert box.quick("remove", fault=OLD_KERNEL).code == 0
    box.await_same(before)


def test_the_filter_is_gone(box: Box) -> None:
    before = box.snapshot()
    box.write(("vni: 12", "vni: 12, hook: tc"))
    assert box.quick("apply", fault=OLD_KERNEL).code == 0
    box.host.run(["tc", "filter", "del", "dev", "eth1", "ingress"])

    assert box.quick("apply", fault=OLD_KERNEL).code == 0
    assert box.forwarded() == 12
    box.host.run(["tc", "filter", "del", "dev", "eth1", "ingress"])
    assert box.quick("remove", fault=OLD_KERNEL).code == 0
    box.await_same(before)
