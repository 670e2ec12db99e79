"""The lab is the vocabulary of all network tests: it must do what it says, and leave nothing behind."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.errors import HostError
from collector.operate.lab import Lab, Namespace, stop, wait_for

ETH_P_ALL = 0x0003
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
LOCAL_EXPERIMENT = b"\x88\xb5"  # IEEE 802: an ethertype that nothing answers
PHONE_MAC, PBX_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def frame(source: str, destination: str, payload: bytes) -> bytes:
    macs = bytes.fromhex((destination + source).replace(":", ""))
    return macs + LOCAL_EXPERIMENT + payload.ljust(46, b"\0")


def packet_socket(namespace: Namespace, ifname: str) -> socket.socket:
    with namespace.enter():
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        packets.bind((ifname, 0))
    packets.settimeout(5)
    return packets


def delivered(sender: Namespace, receiver: Namespace, address: str, size: int) -> bool:
    """Whether one datagram, not to be fragmented, arrives."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with sender.enter():
        sending = socket.socket(family, socket.SOCK_DGRAM)
    with receiver.enter():
        receiving = socket.socket(family, socket.SOCK_DGRAM)
    with sending, receiving:
        if family == socket.AF_INET:
            sending.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        receiving.bind((address, 4000))
        receiving.settimeout(5)
        sending.sendto(b"x" * size, (address, 4000))
        return len(receiving.recv(2048)) == size


def own_namespaces() -> list[str]:
    return [path.name for path in Path("/run/netns").glob(f"lab-{os.getpid()}-*")]


def interfaces_here() -> list[str]:
    """Those of the namespace that the calling thread is in."""
    return [name for _, name in socket.if_nameindex()]


def test_two_machines_reach_each_other_over_a_cable(lab: Lab) -> None:
    phone, pbx = lab.namespace("phone"), lab.namespace("pbx")
    phone.link("eth0", pbx, "eth1", mtu=1400, macs=(PHONE_MAC, PBX_MAC))
    phone.address("eth0", "192.0.2.10/24")
    pbx.address("eth1", "192.0.2.20/24")

    assert delivered(phone, pbx, "192.0.2.20", size=1400 - 28)
    with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
        delivered(phone, pbx, "192.0.2.20", size=1400 - 27)
    assert (phone.interfaces(), pbx.interfaces()) == (["lo", "eth0"], ["lo", "eth1"])
    assert (phone.mac("eth0"), pbx.mac("eth1")) == (PHONE_MAC, PBX_MAC)


def test_ipv6_reaches_and_routes_once_it_is_wanted(lab: Lab) -> None:
    phone, pbx = lab.namespace("phone", ipv6=True), lab.namespace("pbx", ipv6=True)
    phone.link("eth0", pbx, "eth0")
    phone.address("eth0", "2001:db8::10/64")
    pbx.address("eth0", "2001:db8::20/64")
    pbx.address("lo", "2001:db8:1::1/128")
    phone.route("2001:db8:1::/64", via="2001:db8::20")

    assert delivered(phone, pbx, "2001:db8:1::1", size=100)


def test_a_quiet_link_carries_no_frame_of_its_own(lab: Lab) -> None:
    phone, switch = lab.namespace("phone"), lab.namespace("switch")
    phone.link("eth0", switch, "port1")
    switch.bridge("br0", ["port1"])

    assert phone.sysctl("net.ipv6.conf.eth0.disable_ipv6") == "1"
    with packet_socket(phone, "eth0") as receiver, packet_socket(switch, "br0") as sender:
        sender.send(frame(PBX_MAC, PHONE_MAC, b"first"))
        assert receiver.recv(2048) == frame(PBX_MAC, PHONE_MAC, b"first")
    assert (phone.stats("eth0")["rx_packets"], phone.stats("eth0")["tx_packets"]) == (1, 0)


def test_a_mirror_port_sees_each_frame_once_both_ways(lab: Lab) -> None:
    phone, pbx, switch, span = (lab.namespace(name) for name in ("phone", "pbx", "switch", "span"))
    phone.link("eth0", switch, "port1", macs=(PHONE_MAC, "02:00:00:00:01:01"))
    pbx.link("eth0", switch, "port2", macs=(PBX_MAC, "02:00:00:00:01:02"))
    switch.link("span", span, "eth0")
    switch.bridge("br0", ["port1", "port2"])
    switch.mirror("port1", "span")
    switch.mirror("port2", "span")
    there, back = frame(PHONE_MAC, PBX_MAC, b"there"), frame(PBX_MAC, PHONE_MAC, b"back")

    with (
        packet_socket(span, "eth0") as mirror,
        packet_socket(phone, "eth0") as at_phone,
        packet_socket(pbx, "eth0") as at_pbx,
    ):
        at_phone.send(there)
        assert (mirror.recv(2048), at_pbx.recv(2048)) == (there, there)
        at_pbx.send(back)
        assert mirror.recv(2048) == back
    assert span.stats("eth0")["rx_packets"] == 2


def test_frames_of_local_sockets_leave_with_full_checksums(lab: Lab) -> None:
    phone, pbx = lab.namespace("phone"), lab.namespace("pbx")
    phone.link("eth0", pbx, "eth0", macs=(PHONE_MAC, PBX_MAC))
    phone.address("eth0", "192.0.2.10/24")
    phone.neighbour("eth0", "192.0.2.20", PBX_MAC)

    with packet_socket(pbx, "eth0") as wire, phone.enter():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"word", ("192.0.2.20", 9))
        packet = wire.recv(2048)[14:]
    pseudo_header = packet[12:20] + b"\x00\x11" + packet[24:26]
    words = memoryview(pseudo_header + packet[20:]).cast("H")
    assert sum(words) % 0xFFFF == 0


def test_features_are_set_and_a_fixed_one_is_refused(lab: Lab) -> None:
    phone, pbx = lab.namespace("phone"), lab.namespace("pbx")
    phone.link("eth0", pbx, "eth0")

    assert phone.features("eth0")["tx-checksum-ip-generic"] is False
    assert phone.features("eth0", {"rx-gro": True})["rx-gro"] is True
    assert phone.features("eth0", {"rx-gro": False})["rx-gro"] is False
    with pytest.raises(HostError, match=r"^eth0 in phone refuses to change tx-checksum-fcoe-crc$"):
        phone.features("eth0", {"tx-checksum-fcoe-crc": True})


def test_sysctls_belong_to_the_namespace(lab: Lab) -> None:
    here = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text().strip()

    assert lab.namespace("router").sysctl("net.ipv4.ip_default_ttl", 99) == "99"
    assert lab.namespace("other").sysctl("net.ipv4.ip_default_ttl") == here
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text().strip() == here


def test_udp_queues_tell_who_listens_and_what_waits(lab: Lab) -> None:
    pbx = lab.namespace("pbx")
    assert pbx.udp_queues(5060) == []
    with pbx.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 5060))
        assert pbx.udp_queues(5060) == [0]
        listener.sendto(b"word", listener.getsockname())
        assert pbx.udp_queues(5060)[0] > 0


def test_entering_comes_back_after_an_error(lab: Lab) -> None:
    before, phone = interfaces_here(), lab.namespace("phone")
    inside: list[str] = []

    def fail() -> None:
        with phone.enter():
            inside.extend(interfaces_here())
            raise ValueError("inside")

    with pytest.raises(ValueError, match=r"^inside$"):
        fail()
    assert inside == ["lo"]
    assert interfaces_here() == before


def test_a_failed_command_is_reported_in_its_own_words(lab: Lab) -> None:
    script = "import sys; sys.exit('no dial tone')"
    with pytest.raises(HostError, match=r"in phone, ended with 1: no dial tone$"):
        lab.namespace("phone").run([sys.executable, "-c", script])


def test_an_unknown_interface_is_named(lab: Lab) -> None:
    with pytest.raises(HostError, match=r"^There is no interface eth7 in phone$"):
        lab.namespace("phone").up("eth7")


def test_waiting_in_vain_says_for_what() -> None:
    with pytest.raises(HostError, match=r"^Waited 0 s in vain for: the PBX to answer$"):
        wait_for(lambda: False, "the PBX to answer", timeout=0)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_behind_when_the_body_raises(error: type[BaseException]) -> None:
    before, processes = interfaces_here(), []

    def fail() -> None:
        with Lab() as lab:
            phone, pbx = lab.namespace("phone"), lab.namespace("pbx")
            phone.link("eth0", pbx, "eth0")
            processes.append(phone.start(["sleep", "1000"]))
            assert len(own_namespaces()) == 2
            raise error

    with pytest.raises(error):
        fail()
    assert [process.returncode for process in processes] == [-signal.SIGTERM]
    assert (own_namespaces(), interfaces_here()) == ([], before)


def test_nothing_is_left_behind_when_building_fails() -> None:
    def fail() -> None:
        with Lab() as lab:
            lab.namespace("phone")
            lab.namespace("phone")

    with pytest.raises(HostError, match=r"-phone exists already$"):
        fail()
    assert own_namespaces() == []


def test_a_process_deaf_to_sigterm_is_killed(lab: Lab) -> None:
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process = lab.namespace("phone").start([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "deaf\n"

    stop(process, patience=0)
    assert process.returncode == -signal.SIGKILL


def test_two_labs_stand_side_by_side(lab: Lab) -> None:
    with Lab() as second:
        assert lab.namespace("phone").path != second.namespace("phone").path
