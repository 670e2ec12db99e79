"""What every one of the appliance's artefacts must do, wherever it boots."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

from tests.lib import tshark
from tests.lib.vm import Vm, disk_format
from tests.lib.vmports import Nic

DIST = Path(__file__).parents[2] / "dist"
UPLINK, MIRROR = 0, 1  # the machine's NICs
COLLECTOR, TMETER, TMETER_MAC = "192.0.2.2", "192.0.2.1", "02:00:00:00:00:01"
FILE = "/etc/collector/collector.yaml"

_CONFIGURATION = """\
version: 1
sources:
  - name: pbx
    type: span
    interface: {mac: "52:54:00:00:00:02"}
    hook: HOOK
t_meters:
  - name: ohio
    address: 192.0.2.1
"""


def configuration(hook: str) -> str:
    return _CONFIGURATION.replace("HOOK", hook)


# What an administrator would write instead of DHCP.
NETWORKS = {
    "network.network.10-uplink": "[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nAddress=192.0.2.2/24\n",
    "network.network.10-mirror": "[Match]\nMACAddress=52:54:00:00:00:02\n[Network]\nLinkLocalAddressing=no\n",
}


def artefact(suffix: str) -> Path:
    """One of the files of `make image`."""
    (found,) = DIST.glob(f"collector-*.{suffix}")
    return found


def disk_on(base: Path, folder: Path, size: str = "8G") -> Path:
    """A disk that holds what `base` holds, and takes what is written instead of it."""
    disk = folder / "disk.qcow2"
    backing = ["-b", str(base), "-F", disk_format(base)]
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk), size]
    subprocess.run(command, check=True)
    return disk


def partition(raw: Path, name: str) -> tuple[int, int]:
    """Where it begins and how long it is, in bytes."""
    done = subprocess.run(["sfdisk", "--json", raw], check=True, capture_output=True)
    found = json.loads(done.stdout)["partitiontable"]["partitions"]
    (one,) = (each for each in found if each["name"] == name)
    return one["start"] * 512, one["size"] * 512


def qemu_io(disk: Path, command: str) -> None:
    done = subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", command, disk], capture_output=True, text=True, check=True
    )
    assert "failed" not in done.stdout


def assert_healthy(vm: Vm) -> None:
    """Everything has started, in an order without cycles, and nothing listens that should not."""
    state = vm.booted()
    assert (state, vm.succeed("systemctl list-units --failed --plain --no-legend")) == ("running", "")
    assert vm.execute("journalctl --boot --quiet --grep 'ordering cycle'") == (1, "")
    assert vm.succeed(
        "ss --listening --tcp --udp --numeric --no-header | awk '{print $5}' | sort"
    ).split() == [
        "0.0.0.0:22",
        "127.0.0.1:9747",
        "[::]:22",
    ]


def assert_blank(vm: Vm) -> None:
    """Not configured, and says so: to the one who asks, and on the console."""
    assert vm.succeed("collector status") == "not configured: nothing is forwarded"
    version = vm.succeed(". /etc/os-release; echo $IMAGE_VERSION")
    text = vm.wait_until("cat /run/issue.d/appliance.issue")
    for words in (
        f"VXLAN collector {version}",
        "State        not configured",
        vm.nics[0].mac,
        "sudo collector setup",
    ):
        assert words in text
    vm.wait_until("grep --quiet 'State  *not configured' /dev/vcs1")
    if vm.console:
        vm.wait_for("State +not configured")


def configure(vm: Vm, hook: str) -> None:
    text = configuration(hook)
    vm.succeed(f"cat > {FILE} <<'END'\n{text}END\nsystemctl reload collector")
    attached = {"xdp": "xdp-native", "tc": "tc"}[hook]
    vm.wait_until(f'collector status --interval 0 --json | grep \'"hook": "{attached}"\'')


def mirrored() -> list[bytes]:
    """Frames as a mirror port sends them: short and long, with and without a tag."""
    ethernet = Ether(src="02:00:00:00:00:11", dst="02:00:00:00:00:12")
    packet = IP(src="10.0.0.11", dst="10.0.0.12") / UDP(sport=5060, dport=5060)
    invite = packet / b"INVITE sip:100@example.com SIP/2.0\r\n\r\n"
    return [
        bytes(ethernet / invite),
        bytes(ethernet / Dot1Q(vlan=200) / invite),
        bytes(ethernet / packet / bytes(1372)),
    ]


def is_to_tmeter(frame: bytes) -> bool:
    packet = Ether(frame)
    return VXLAN in packet and packet[IP].dst == TMETER


def answer_arp(nic: Nic) -> None:
    """The t-meter is on the uplink's cable, and tells its MAC address to whoever asks."""

    def answer(frame: bytes) -> None:
        packet = Ether(frame)
        if ARP in packet and packet[ARP].op == 1 and packet[ARP].pdst == TMETER:
            asks = packet[ARP]
            reply = ARP(op=2, hwsrc=TMETER_MAC, psrc=TMETER, hwdst=asks.hwsrc, pdst=asks.psrc)
            nic.send(bytes(Ether(src=TMETER_MAC, dst=asks.hwsrc) / reply))

    nic.answer = answer


def assert_forwards(vm: Vm, sent: Sequence[bytes]) -> None:
    """What goes into the one NIC comes out of the other as VXLAN, by Wireshark's word."""
    uplink, mirror = vm.nics[UPLINK], vm.nics[MIRROR]
    received = []
    for frame in sent:
        mirror.send(frame)
        received.append(uplink.receive(is_to_tmeter))
    outer = tshark.fields(
        received, ["eth.dst", "ip.src", "ip.dst", "udp.dstport", "vxlan.flags", "vxlan.vni"]
    )
    assert outer == [(TMETER_MAC, COLLECTOR, TMETER, "4789", "0x0800", "12")] * len(sent)
    assert [frame[50:] for frame in received] == list(sent)


def seconds_to_forwarding(vm: Vm) -> float:
    """From power on until the first frame has gone the whole way."""
    frame = mirrored()[0]
    while True:
        vm.nics[MIRROR].send(frame)
        if vm.nics[UPLINK].got(is_to_tmeter, 0.5):
            return time.monotonic() - vm.powered
        vm.require_running()
