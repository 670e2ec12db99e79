"""What `collector setup` writes: the configuration, network files, keys; and its call over D-Bus."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.control.config import load_text, parse
from collector.control.files import replace_file
from collector.errors import HostError
from collector.operate.setup import network
from collector.operate.setup.bus import reload_networkd
from collector.operate.setup.facts import Facts, NicFacts
from collector.operate.setup.keys import _append, parse_key
from collector.operate.setup.review import changes, summary
from collector.operate.setup.wanted import wanted
from collector.operate.setup.written import write
from tests.lib.written import written

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDFbnRPZSxGc82ISg3Ui3V+MaIHSqo5bdf4Z5qnK0Va6"
FINGERPRINT = "SHA256:Ga8vPhmtBldGM8OAPL9P1nSZc8ev+tjLAoEmz9Cqn+Y"
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBFTDrshMUJNvthw5EMA/ldhZZNjKhA"
    "PAIOaejs8ywUIygKaDvOvrf4ClngxrLw6nzCnDVDXfM5Ez1bgyUEz0E/Y="
)
SHORT_RSA = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDpIuaV4AZDnErbB+0ZRYY1jshPlXvEOhWpDQND19bg27EI9I4c5YASYsc4qmNOYZ8"
    "wT+sdpWnGaYDYP4vxIuxxGFhm5hMuuCjFJC/qBk0x6/0iqPFY0bAsBukUz6dIQ1Ra1o+w62BKbck0ohhgAnG+XXInbiK80+tOzntYAk"
    "cSbQ=="
)

ANSWERS = {"how": "span", "nic": "eth1", "t_meter": "203.0.113.10", "vni": "12", "probe": "icmp"}
OWN, MIRROR = NicFacts("eth0", "02:00:00:00:00:01", addresses=("192.0.2.1/24",)), NicFacts("eth1")


def facts(text: str = "", *nics: NicFacts, **more: Any) -> Facts:
    data = load_text(text, "collector.yaml").document.data if text else None
    assert data is None or isinstance(data, dict)
    here = nics or (OWN, MIRROR)
    return Facts(here, lambda _: [], "eth0", Path("collector.yaml"), data, text, **more)


FRESH = written("203.0.113.10")


def test_a_new_file() -> None:
    assert wanted(facts(), ANSWERS).text == FRESH


def test_a_shared_nic_and_a_probe_by_tcp() -> None:
    answers = {
        **ANSWERS,
        "how": "shared",
        "nic": "eth0",
        "probe": "tcp",
        "tcp_port": "443",
        "t_meter": "2001:db8::1",
    }
    assert (
        wanted(facts(), answers).text
        == """\
# Written by collector setup. All keys are in the manual, page Configuration.
version: 1

# Where the copies of the phone system's traffic arrive
sources:
  - name: pbx
    type: span               # a mirror port: all that arrives is a copy
    interface: eth0
    shared: true             # the NIC carries this machine's own traffic too
    vni: 12

# Where they are sent, each frame wrapped in VXLAN
t_meters:
  - name: t-meter
    address: "2001:db8::1"
    probe: "tcp:443"         # how its health is tested
"""
    )


LARGE = """\
# mine
version: 1
sources:
  - {name: pbx, type: span, interface: eth1, vni: 100, vlan: strip, rspan_vlan: 700}
  - name: aws
    type: vxlan
    interface: {mac: "02:00:00:00:00:01"}
    from: [10.0.0.0/16, "2001:db8::/32"]
    vni: {17: 101, 18: 102, default: 12}
t_meters:
  - {name: ohio, address: 203.0.113.10, port: 4790, oversize: slice}
metrics: {listen: ["127.0.0.1:9747", "[::1]:9747"]}
telephony:
  rtp: ["9000-10999"]
"""


def test_nothing_of_a_larger_file_is_lost() -> None:
    text = wanted(facts(LARGE), {**ANSWERS, "source": "0", "vni": "101"}).text
    assert (
        text
        == """\
# Written by collector setup. All keys are in the manual, page Configuration.
version: 1

# Where the copies of the phone system's traffic arrive
sources:
  - name: pbx
    type: span               # a mirror port: all that arrives is a copy
    interface: eth1
    vni: 101
    vlan: strip
    rspan_vlan: 700
  - name: aws
    type: vxlan              # the copies come wrapped in VXLAN
    interface: {mac: "02:00:00:00:00:01"}
    from: [10.0.0.0/16, "2001:db8::/32"]
    vni: {17: 101, 18: 102, default: 12}

# Where they are sent, each frame wrapped in VXLAN
t_meters:
  - name: ohio
    address: 203.0.113.10
    port: 4790
    oversize: slice

# The phone system's ports
telephony: {rtp: [9000-10999]}

# Where Prometheus reads
metrics: {listen: ["127.0.0.1:9747", "[::1]:9747"]}
"""
    )
    changed = LARGE.replace("vni: 100", "vni: 101")
    assert parse(text, "new") == parse(changed, "changed")


def test_the_second_source_keeps_its_mac_and_its_map() -> None:
    answers = {**ANSWERS, "source": "1", "how": "tunnel", "tunnel": "vxlan", "nic": "eth0", "vni": "map"}
    assert wanted(facts(LARGE), answers).text == LARGE  # not a word is changed where nothing changes


def test_another_type_leaves_what_only_the_former_has() -> None:
    answers = {**ANSWERS, "source": "0", "how": "tunnel", "tunnel": "tzsp", "nic": "eth0"}
    source = wanted(facts(LARGE), answers).file.config.sources[0]
    assert source.model_dump(exclude_defaults=True) == {
        "name": "pbx", "type": "tzsp", "interface": "eth0", "vlan": "strip"
    }  # fmt: skip


def test_a_source_no_longer_shared() -> None:
    text = FRESH.replace("    vni: 12\n", "    shared: true\n")
    assert wanted(facts(text), ANSWERS).text == FRESH


@pytest.mark.parametrize(
    "text", ["0x10", "yes", "1:30", "12", "a: b", "# c", "", "1e3", "null", "tcp:443", 'q"q']
)
def test_what_yaml_would_read_otherwise_is_quoted(text: str) -> None:
    found = load_text(write({"version": 1, "sources": []}), "empty").document.data
    assert found == {"version": 1, "sources": []}
    line = write({"version": 1, "metrics": {"listen": text}}).splitlines()[-1]
    assert line == f'metrics: {{listen: "{text}"}}'.replace('q"q', 'q\\"q')


SUMMARY = """\

-- collector.yaml ----------------------------------------------------------
The old file is kept as collector.yaml.bak. Comments of your own are there
only.
"""


def test_the_summary_says_what_becomes_of_the_old_file() -> None:
    assert summary(facts(LARGE), wanted(facts(LARGE), ANSWERS)).startswith(SUMMARY)
    again = summary(facts(FRESH), wanted(facts(FRESH), ANSWERS)).splitlines()
    assert again[2] == "The file stays as it is."
    other = summary(facts(FRESH), wanted(facts(FRESH), {**ANSWERS, "vni": "7"})).splitlines()
    assert other[2:4] == ["The old file is kept as collector.yaml.bak.", ""]
    assert again[-2:] == [
        "eth0 keeps its address 192.0.2.1/24 (it is not systemd-networkd that sets",
        "it, so setup leaves it alone).",
    ]


def test_the_plan_as_it_is_shown() -> None:
    assert changes([], ["w " * 50]).splitlines()[3:] == [
        "nothing: it runs like this already", "", "warning: " + "w " * 33 + "w", "w " * 15 + "w",
    ]  # fmt: skip


# The network

DHCP = """\
# Written by collector setup.
[Match]
Name=eth0

[Network]
DHCP=yes

[DHCPv4]
ClientIdentifier=mac
"""
STATIC = """\
# Written by collector setup.
[Match]
Name=eth0

[Network]
DHCP=no
Address=192.0.2.10/24
Gateway=192.0.2.1
DNS=192.0.2.53
DNS=2001:db8::53
"""
QUIET = """\
# Written by collector setup.
[Match]
Name=eth1

[Link]
RequiredForOnline=no

[Network]
DHCP=no
LinkLocalAddressing=no
IPv6AcceptRA=no
LLDP=no
"""


def test_network_files() -> None:
    own = NicFacts("eth0", addresses=("192.0.2.1/24",), network_file="80-dhcp.network", settings="DHCP=yes\n")
    mirror = NicFacts("eth1", network_file="80-dhcp.network", settings="DHCP=yes\n")
    here = facts("", own, mirror)
    static = {
        "method": "static", "address": "192.0.2.10/24", "gateway": "192.0.2.1",
        "dns": "192.0.2.53 2001:db8::53",
    }  # fmt: skip
    assert wanted(here, {**ANSWERS, **static}).network == {network.MANAGEMENT: STATIC, network.MIRROR: QUIET}
    assert wanted(here, {**ANSWERS, "method": "dhcp"}).network == {
        network.MANAGEMENT: DHCP,
        network.MIRROR: QUIET,
    }
    assert wanted(here, {**ANSWERS, "method": "keep"}).network == {network.MIRROR: QUIET}


def test_a_mirror_port_that_is_quiet_already_is_left_alone() -> None:
    mirror = NicFacts("eth1", network_file="05-collector-mirror.network", settings=QUIET)
    assert wanted(facts("", OWN, mirror), ANSWERS).network == {}


def test_a_mirror_port_that_becomes_shared_gets_an_address_again() -> None:
    mirror = NicFacts("eth1", network_file="05-collector-mirror.network", settings=QUIET)
    found = wanted(facts("", OWN, mirror), {**ANSWERS, "how": "shared"})
    assert found.network == {network.MIRROR: DHCP.replace("eth0", "eth1")}
    assert summary(facts(), found).splitlines()[-1] == (
        "eth1 gets its address by DHCP: it is no mirror port any more."
    )


def test_network_files_are_read() -> None:
    assert network.by_dhcp(DHCP)
    assert not network.by_dhcp(STATIC)
    assert network.read_static(DHCP) is None
    assert network.read_static(STATIC) == network.Static(
        "192.0.2.10/24", "192.0.2.1", ("192.0.2.53", "2001:db8::53")
    )


# Keys


@pytest.mark.parametrize("key", [ED25519, ECDSA])
def test_keys(key: str) -> None:
    assert parse_key(f"  {key}  me@example.net \n").line == f"{key} me@example.net"


def test_a_fingerprint_is_that_of_ssh_keygen() -> None:
    assert parse_key(ED25519).fingerprint == FINGERPRINT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "this is a private key, which nobody should see"),
        ("ssh-dss AAAA", "DSA keys are too weak"),
        ("hello", "this is no SSH public key"),
        ("ssh-ed25519", "this is no SSH public key"),
        ('command="x" ' + ED25519, "this is no SSH public key"),
        (ED25519[:-4], "this key is cut short or damaged"),
        (ED25519.replace("ssh-ed25519", "ssh-rsa"), "this key is cut short or damaged"),
        (ED25519 + "=", "this key is cut short or damaged"),
        (SHORT_RSA, "this RSA key has 1024 bits only"),
        (ED25519 + " a\x1bb", "there are unprintable characters"),
    ],
)
def test_wrong_keys(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="^" + words):
        parse_key(text)


def test_a_key_is_appended_once(tmp_path: Path) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(f"{ECDSA} old")
    assert _append(file, parse_key(ED25519 + " me"))
    assert not _append(file, parse_key(ED25519 + " another word"))
    assert file.read_text() == f"{ECDSA} old\n{ED25519} me\n"


# Files


def test_a_file_is_replaced_and_the_old_one_kept(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "collector.yaml"
    replace_file(file, "one\n", backup=True)
    file.chmod(0o640)
    replace_file(file, "two\n", backup=True)
    replace_file(file, "two\n", backup=True)
    assert sorted(each.name for each in file.parent.iterdir()) == ["collector.yaml", "collector.yaml.bak"]
    assert (file.read_text(), file.with_name("collector.yaml.bak").read_text()) == ("two\n", "one\n")
    assert [each.stat().st_mode & 0o777 for each in file.parent.iterdir()] == [0o640, 0o640]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="cannot be written: File exists"):
        replace_file(tmp_path / "file" / "collector.yaml", "one\n")


# D-Bus


def answer(kind: int, serial: int, words: str = "") -> bytes:
    """Little endian: header fields REPLY_SERIAL (5, u) and, with a body, SIGNATURE (8, g)."""
    fields = struct.pack("<BB1sxI", 5, 1, b"u", serial)
    body = struct.pack("<I", len(words)) + words.encode() + b"\0" if words else b""
    if words:
        fields += struct.pack("<BB1sxB1sx", 8, 1, b"g", 1, b"s")
    head = struct.pack("<c3BIII", b"l", kind, 0, 1, len(body), 7, len(fields)) + fields
    return head + bytes(-len(head) % 8) + body


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[tuple[Path, list[bytes], list[bytes]]]:
    """Its socket, what it is to answer to each call, and what it was sent."""
    path, answers, heard = tmp_path / "bus", list[bytes](), list[bytes]()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=serve, args=(server, answers, heard))
        thread.start()
        yield path, answers, heard
        thread.join()


def serve(server: socket.socket, answers: list[bytes], heard: list[bytes]) -> None:
    with server.accept()[0] as client:
        said = b""
        while not said.endswith(b"BEGIN\r\n"):
            said += client.recv(1)
        client.sendall(b"DATA\r\nOK 0123456789abcdef\r\n")
        for each in answers:
            heard.append(client.recv(4096))
            client.sendall(each)
        client.recv(1)


def test_networkd_is_told_to_reload(bus: tuple[Path, list[bytes], list[bytes]]) -> None:
    path, answers, heard = bus
    noise = answer(4, 99)
    answers += [answer(2, 1) + noise, answer(2, 2)]
    reload_networkd(path)
    assert [b"Hello" in heard[0], b"Reload" in heard[1]] == [True, True]
    assert b"org.freedesktop.network1.Manager\0" in heard[1]
    assert all(len(each) % 8 == 0 for each in heard)


def test_networkd_refuses(bus: tuple[Path, list[bytes], list[bytes]]) -> None:
    path, answers, _heard = bus
    answers += [answer(2, 1), answer(3, 2, "Unit is masked.")]
    with pytest.raises(HostError, match="to read its files anew: Unit is masked"):
        reload_networkd(path)


def test_there_is_no_bus(tmp_path: Path) -> None:
    with pytest.raises(HostError) as raised:
        reload_networkd(tmp_path / "none")
    assert str(raised.value) == (
        "systemd-networkd cannot be told to read its files anew: [Errno 2] No such file or directory\n"
        "  Look at it: systemctl status dbus systemd-networkd"
    )
    assert list(tmp_path.iterdir()) == []
