"""A configuration reaches the machine at its first boot, without a person; a broken one changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lib import imds
from tests.lib.appliance import (
    COLLECTOR,
    FILE,
    NETWORKS,
    UPLINK,
    answer_arp,
    artefact,
    assert_forwards,
    assert_healthy,
    configuration,
    disk_on,
    mirrored,
)
from tests.lib.brought import SshKey, assert_lets_in, drive, volume
from tests.lib.vm import USB, Machine, Vm

pytestmark = pytest.mark.vm(starts=1)

GOOD = configuration("tc")
BROKEN = GOOD.replace("t_meters", "t_meter")
REFUSAL = """\
the volume COLLECTOR
collector.yaml:1:1: t_meters: there is none, so frames have nowhere to go; add one
collector.yaml:7:1: t_meter: unknown key; did you mean 't_meters'?
"""
NETWORK_CONFIG = """\
version: 2
ethernets:
  uplink:
    match: {macaddress: "52:54:00:00:00:01"}
    addresses: [192.0.2.2/24]
"""
MIRROR_NETWORK = {name: text for name, text in NETWORKS.items() if name.endswith("mirror")}
IMDS_NETWORK = {
    "network.network.10-imds": "[Match]\nMACAddress=52:54:00:00:00:0f\n[Network]\nAddress=169.254.169.15/24\n"
}
EC2_UUID = "ec21b2c3-0000-4000-8000-000000000001"
EC2 = ("-smbios", f"type=1,manufacturer=Amazon EC2,product=t3.small,serial={EC2_UUID},uuid={EC2_UUID}")


def test_nocloud(folder: Path) -> None:
    """A hypervisor's seed says all; a stick that is plugged in later says it anew."""
    first, second = SshKey.make(folder, "first"), SshKey.make(folder, "second")
    seed = {
        "meta-data": "instance-id: i-1\nlocal-hostname: site-12\n",
        "network-config": NETWORK_CONFIG,
        "user-data": cloud_config(ssh_authorized_keys=[first.public], collector=GOOD),
    }
    machine = Machine("NoCloud", extra=(*drive(volume(folder / "seed", "CIDATA", seed)), *USB))
    stick = {"collector.yaml": f"# The stick's\n{GOOD}", "authorized_keys": second.public}
    with Vm(machine, disk_on(artefact("qcow2"), folder), folder / "vm", MIRROR_NETWORK) as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert_cloud_init_is_content(vm)
        wait_until_configured(vm)
        assert vm.succeed("hostname; getent hosts site-12") == "site-12\n127.0.1.1       site-12 site-12"
        assert vm.succeed(f"cat {FILE}") == GOOD.strip()
        assert_forwards(vm, mirrored())
        assert_lets_in(vm, first)
        vm.plug_in(volume(folder / "stick", "COLLECTOR", stick))
        vm.wait_until(f'grep --quiet "The stick" {FILE} && grep --quiet second /home/*/.ssh/authorized_keys')
        assert_lets_in(vm, second)
        assert_forwards(vm, mirrored())


def test_ec2(folder: Path) -> None:
    """The file by write_files, the key by the metadata, and never a question without a token."""
    key = SshKey.make(folder, "key")
    files = [{"path": FILE, "content": GOOD}]
    cable = imds.nic(
        folder / "imds",
        {
            "user-data": cloud_config(write_files=files),
            "meta-data/": "instance-id\nlocal-hostname\nnetwork/\npublic-keys/",
            "meta-data/network/": "interfaces/",
            "meta-data/network/interfaces/": "macs/",
            "meta-data/instance-id": "i-0123456789abcdef0",
            "meta-data/local-hostname": "ip-192-0-2-2",
            "meta-data/public-keys/": "0=key",
            "meta-data/public-keys/0/openssh-key": key.public,
            "meta-data/network/interfaces/macs/": "52:54:00:00:00:01/",
            "meta-data/network/interfaces/macs/52:54:00:00:00:01/": "device-number\nlocal-ipv4s",
            "meta-data/network/interfaces/macs/52:54:00:00:00:01/device-number": "0",
            "meta-data/network/interfaces/macs/52:54:00:00:00:01/local-ipv4s": COLLECTOR,
            "dynamic/instance-identity": "document",
            "dynamic/instance-identity/document": json.dumps({"instanceId": "i-0123456789abcdef0"}),
        },
    )
    machine = Machine("EC2", extra=(*EC2, *cable))
    networks = NETWORKS | IMDS_NETWORK
    with Vm(machine, disk_on(artefact("qcow2"), folder), folder / "vm", networks) as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        assert_cloud_init_is_content(vm)
        wait_until_configured(vm)
        assert vm.succeed("hostname; ls --ignore '*quiet*' /etc/systemd/network") == "ip-192-0-2-2"
        assert "169.254.169.123" in vm.succeed("chronyc -n sources")
        assert_forwards(vm, mirrored())
        assert_lets_in(vm, key)
    asked = imds.requests(folder / "imds")
    assert asked[0] == ("PUT", "/latest/api/token", 200)
    assert 401 not in {code for _, _, code in asked}


def test_a_credential_and_a_broken_stick(folder: Path) -> None:
    """What a credential brings is taken; a stick with a broken file is refused, and it goes on."""
    machine = Machine("a credential", extra=USB)
    credentials = NETWORKS | {"collector.yaml": GOOD}
    with Vm(machine, disk_on(artefact("qcow2"), folder), folder / "vm", credentials) as vm:
        answer_arp(vm.nics[UPLINK])
        assert_healthy(vm)
        wait_until_configured(vm)
        assert_forwards(vm, mirrored())
        vm.succeed(f"sed -i '1i # Mended by hand' {FILE}")
        vm.plug_in(volume(folder / "stick", "COLLECTOR", {"collector.yaml": BROKEN}))
        vm.wait_until("test -e /run/collector-refused")
        assert vm.succeed("cat /run/collector-refused") + "\n" == REFUSAL
        vm.wait_until("grep --quiet 'REFUSED .*the volume COLLECTOR' /run/issue.d/appliance.issue")
        assert REFUSAL.splitlines()[1] in " ".join(vm.execute("collector status")[1].split())
        assert vm.succeed(f"cat {FILE}") + "\n" == f"# Mended by hand\n{GOOD}"
        wait_until_configured(vm)
        assert_forwards(vm, mirrored())


def cloud_config(**keys: object) -> str:
    """JSON is YAML, too."""
    return f"#cloud-config\n{json.dumps(keys)}\n"


def wait_until_configured(vm: Vm) -> None:
    vm.wait_until('collector status --interval 0 --json | grep \'"hook": "tc"\'')


def assert_cloud_init_is_content(vm: Vm) -> None:
    """Nothing failed or was warned of; root has no key, and the host key is the one that the image makes."""
    status = json.loads(vm.execute("cloud-init status --wait --format json")[1])
    assert (status["status"], status["errors"], status["recoverable_errors"]) == ("done", [], {})
    host_key = "/etc/ssh/ssh_host_ed25519_key"
    assert vm.succeed("ls -A /root/.ssh 2>/dev/null; ls /etc/ssh/ssh_host_*") == f"{host_key}\n{host_key}.pub"
