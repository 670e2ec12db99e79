"""The appliance follows its configuration: what that listens on is let in, and a mirror port is quiet.

After a restart it is so from its first moment on.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.dhcp import DHCP
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import ICMPv6ND_RS
from scapy.layers.l2 import Ether

from tests.lib.appliance import (
    COLLECTOR,
    FILE,
    MIRROR,
    NETWORKS,
    TMETER,
    TMETER_MAC,
    UPLINK,
    answer_arp,
    artefact,
    assert_forwards,
    configuration,
    disk_on,
)
from tests.lib.vm import Machine, Vm

pytestmark = [pytest.mark.vm(starts=2), pytest.mark.long]

METRICS, OTHER = 9747, 9748
SYN_ACK = 0x12
ADDRESS = NETWORKS["network.network.10-uplink"]
RULE = f"ip daddr {COLLECTOR} tcp dport {METRICS} accept"
QUIET = "/etc/systemd/network/07-collector-quiet-"


def test_it_follows_the_configuration(folder: Path) -> None:
    disk = disk_on(artefact("qcow2"), folder)
    with Vm(Machine("blank, then configured"), disk, folder / "blank") as vm:
        answer_arp(vm.nics[UPLINK])
        assert vm.booted() == "running"
        for nic in vm.nics:
            nic.receive(asks_for_an_address, 120)
        assert RULE not in vm.succeed("nft list ruleset")
        configure(vm)
        wait_until_followed(vm)
        assert_quiet(vm)
        assert_let_in(vm)
        vm.power_off()
    with Vm(Machine("configured"), disk, folder / "configured") as vm:
        answer_arp(vm.nics[UPLINK])
        assert vm.booted() == "running"
        wait_until_followed(vm)
        assert everything(vm) == []
        assert_let_in(vm)
        vm.succeed("collector remove")
        vm.nics[MIRROR].receive(asks_for_an_address, 120)
        assert RULE not in vm.succeed("nft list ruleset")
        assert vm.execute(f"ls {QUIET}*")[0] != 0
        assert vm.succeed("systemctl list-units --failed --plain --no-legend") == ""


def asks_for_an_address(frame: bytes) -> bool:
    packet = Ether(frame)
    return DHCP in packet or ICMPv6ND_RS in packet


def configure(vm: Vm) -> None:
    text = configuration("auto") + f'metrics: {{listen: "{COLLECTOR}:{METRICS}"}}\n'
    vm.succeed(f"cat > /etc/systemd/network/10-uplink.network <<'END'\n{ADDRESS}END\nnetworkctl reload")
    vm.succeed(f"cat > {FILE} <<'END'\n{text}END\nsystemctl reload collector")


def mirror_nic(vm: Vm) -> str:
    return vm.succeed(f"basename $(dirname $(grep -l {vm.nics[MIRROR].mac} /sys/class/net/*/address))")


def wait_until_followed(vm: Vm) -> None:
    nic = mirror_nic(vm)
    vm.wait_until(f"nft list ruleset | grep '{RULE}'")
    vm.wait_until(f"nft list set inet filter quiet_nics | grep '\"{nic}\"'")
    vm.wait_until(f"networkctl status {nic} | grep 'Network File: {QUIET}{nic}.network'")
    vm.wait_until(f"ss --listening --tcp --numeric | grep {COLLECTOR}:{METRICS}")
    vm.wait_until("collector status")
    assert vm.succeed("systemctl list-units --failed --plain --no-legend") == ""


def assert_quiet(vm: Vm) -> None:
    """Not even when its cable is put in: then a NIC that has anything to say says it."""
    nic = mirror_nic(vm)
    vm.succeed(f"networkctl down {nic}")
    everything(vm)
    vm.succeed(f"networkctl up {nic}")
    vm.wait_until(f"networkctl --no-legend list {nic} | grep --word-regexp configured")
    vm.wait_until("collector status")
    assert_forwards(vm, [syn(vm, MIRROR, METRICS)])
    assert everything(vm) == []


def everything(vm: Vm) -> list[str]:
    """That the mirror NIC has sent and nobody has taken off its cable."""
    nic, found = vm.nics[MIRROR], []
    while frame := nic.got(lambda _frame: True, 0.0):
        found.append(Ether(frame).summary())
    return found


def syn(vm: Vm, nic: int, port: int) -> bytes:
    packet = IP(src=TMETER, dst=COLLECTOR) / TCP(sport=40000, dport=port, flags="S")
    return bytes(Ether(src=TMETER_MAC, dst=vm.nics[nic].mac) / packet)


def assert_let_in(vm: Vm) -> None:
    """What is let in is answered in the order in which it came, so the other port is not."""
    uplink = vm.nics[UPLINK]
    for port in (OTHER, METRICS):
        uplink.send(syn(vm, UPLINK, port))
    answer = Ether(uplink.receive(lambda frame: TCP in Ether(frame)))
    assert (answer[TCP].sport, int(answer[TCP].flags)) == (METRICS, SYN_ACK)
