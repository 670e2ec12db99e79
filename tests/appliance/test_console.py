"""A person sets up a machine that nobody has set up, at its serial console, with nothing but the keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.lib.appliance import (
    COLLECTOR,
    MIRROR,
    TMETER,
    UPLINK,
    answer_arp,
    artefact,
    assert_forwards,
    disk_on,
    mirrored,
)
from tests.lib.person import Person
from tests.lib.vm import Machine, Vm

pytestmark = [pytest.mark.vm(starts=1), pytest.mark.long]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDXAGZvKp/mJ+FKHFiXpTwLZROOVNKt4eKHRXAAJqWrV me@desk"
PASSWORD = "correct horse 7"  # noqa: S105 - of a machine that is thrown away


@pytest.fixture
def vm() -> Iterator[Vm]:
    with TemporaryDirectory(prefix="collector-test-", dir="/var/tmp") as name:
        folder = Path(name)
        with Vm(Machine("BIOS, virtio"), disk_on(artefact("qcow2"), folder), folder / "vm") as vm:
            yield vm


def test_a_person_sets_it_up(vm: Vm) -> None:
    answer_arp(vm.nics[UPLINK])
    person = Person(vm)
    assert "Log in as admin. There is no password yet: you choose it." in person.expect(
        "Then: sudo collector setup"
    )
    assert_a_key_needs_no_password(vm)
    log_in(person)
    person.type("sudo collector setup\r")
    uplink, mirror = vm.succeed("ls -d /sys/class/net/*/device | cut -d / -f 5").split()
    person.answer("Number [1]: ")
    counts_show(person, vm, mirror)
    assert f"{uplink} has no address." in person.answer("Number [1]: ", "2")
    person.answer("Address: ", f"{COLLECTOR}/24")
    person.answer(f"Gateway [{TMETER}]: ", "none")
    person.answer("DNS [none]: ")
    person.answer("Address: ", TMETER)
    person.answer("yes or no [no]: ", "yes")
    person.answer("VNI [12]: ")
    person.answer("Number [1]: ", "3")
    person.answer("Key [-]: ", KEY)
    assert f"{uplink} gets its address {COLLECTOR}/24" in person.expect("Is this what you want?")
    person.answer("Number [1]: ")
    person.answer("Number [1]: ")
    person.expect("Is it right? y keeps it, n takes it back")
    assert_forwards(vm, mirrored())
    person.type("y")
    person.expect("$ ")
    assert_set_up(vm)


def assert_a_key_needs_no_password(vm: Vm) -> None:
    """Nobody has chosen one yet: by SSH that hinders no key, and helps nobody else."""
    assert vm.booted() == "running"  # the intake has seen that nobody has brought one
    vm.succeed("ssh-keygen -q -t ed25519 -N '' -C first -f /run/key")
    vm.succeed("install -d -o admin -g admin -m 700 /home/admin/.ssh")
    vm.succeed("install -o admin -g admin -m 600 /run/key.pub /home/admin/.ssh/authorized_keys")
    ssh = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    assert vm.succeed(f"{ssh} -i /run/key admin@localhost sudo --non-interactive id --user") == "0"
    code, said = vm.execute(f"{ssh} admin@localhost true")
    assert (code, said.strip()) == (255, "admin@localhost: Permission denied (publickey).")
    assert vm.succeed("systemctl list-units --failed --plain --no-legend") == ""
    vm.succeed("rm /home/admin/.ssh/authorized_keys")


def log_in(person: Person) -> None:
    """Without a password, but one has to be chosen."""
    person.answer("collector login: ", "admin")
    person.answer("New password: ", PASSWORD)
    person.answer("Retype new password: ", PASSWORD)
    assert "VXLAN collector" in person.expect("$ ")


def counts_show(person: Person, vm: Vm, mirror: str) -> None:
    """The live counts tell which NIC it is, and it is the second."""
    person.expect("Which NIC is plugged into the mirror port?")
    for frame in mirrored():
        vm.nics[MIRROR].send(frame)
    vm.wait_for(rf"2  {mirror} .* 3 .*")
    person.type("2\r")


def assert_set_up(vm: Vm) -> None:
    assert vm.succeed("cat /home/admin/.ssh/authorized_keys") == KEY
    assert vm.succeed("passwd --status admin").split()[1] == "P"
    assert vm.succeed("ls --ignore '*quiet*' /etc/systemd/network").split() == [
        "05-collector-management.network", "05-collector-mirror.network"
    ]  # fmt: skip
    sshd = vm.succeed("sshd -T").splitlines()
    assert {"passwordauthentication no", "permitemptypasswords no", "permitrootlogin no"} <= set(sshd)
    assert_forwards(vm, mirrored())
