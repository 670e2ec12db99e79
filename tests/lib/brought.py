"""What an administrator, a cloud or a hypervisor brings to a machine at its first boot."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lib.vm import Vm


@dataclass(frozen=True)
class SshKey:
    private: str
    public: str

    @classmethod
    def make(cls, folder: Path, name: str) -> SshKey:
        file = folder / name
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(file)]
        subprocess.run(command, check=True)
        return cls(file.read_text(), file.with_suffix(".pub").read_text().strip())


def volume(folder: Path, label: str, files: Mapping[str, str]) -> dict[str, object]:
    """A FAT volume with these files, for Vm.plug_in()."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return {"driver": "vvfat", "dir": str(folder), "label": label}


def drive(volume: Mapping[str, object]) -> tuple[str, ...]:
    """The same, there from the start."""
    words = ",".join(f"file.{key}={value}" for key, value in volume.items())
    return ("-drive", f"{words},format=raw,if=virtio,readonly=on")


def administrator(vm: Vm) -> str:
    """Who may use sudo."""
    return vm.succeed("getent group sudo").rpartition(":")[2]


def assert_lets_in(vm: Vm, key: SshKey) -> None:
    """The administrator logs in with this key, and is root when need be; root does not log in."""
    vm.succeed(f"umask 077; cat > /run/key <<'END'\n{key.private}END\n")
    ssh = "ssh -i /run/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    assert vm.succeed(f"{ssh} -q {administrator(vm)}@localhost sudo --non-interactive id -u") == "0"
    code, said = vm.execute(f"{ssh} root@localhost id")
    assert (code, "root@localhost: Permission denied (publickey)." in said) == (255, True), said
