"""What lynis, an auditor that is not ours, thinks of the appliance while it runs. It takes many minutes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.lib.appliance import NETWORKS, artefact, disk_on
from tests.lib.vm import Machine, Vm

ENOUGH = 80
AUDIT = 1800.0  # seconds, without acceleration
REPORT = Path(__file__).parents[2] / ".cache/lynis.log"


def lynis(folder: Path) -> Path:
    """The auditor, out of Debian's package: nothing is installed, here or there.

    It is as its authors have it: Debian's plugin asks for helpers of apt, and this image has no apt.
    """
    download = ["apt-get", "download", "-o", "APT::Sandbox::User=root", "lynis"]
    subprocess.run(download, cwd=folder, check=True)
    (package,) = folder.glob("lynis_*.deb")
    subprocess.run(["dpkg-deb", "--extract", package, folder / "package"], check=True)
    drive = folder / "drive"
    (folder / "package/usr/share/lynis").rename(drive)
    for path in ("usr/sbin/lynis", "etc/lynis/default.prf", "etc/lynis/plugins"):
        (folder / "package" / path).rename(drive / Path(path).name)
    (drive / "plugins/plugin_debian_phase1").unlink()
    return drive


@pytest.mark.long
def test_lynis(folder: Path) -> None:
    drive = f"file=fat:{lynis(folder)},format=raw,if=none,id=lynis,readonly=on"
    machine = Machine(
        "BIOS, with lynis on a second disk",
        aslr=True,
        disk=("-drive", "file={disk},format={format},if=none,id=disk",
              "-device", "virtio-blk-pci,drive=disk,bootindex=0"),
        extra=("-drive", drive, "-device", "virtio-blk-pci,drive=lynis,serial=lynis"),
    )  # fmt: skip
    with Vm(machine, disk_on(artefact("qcow2"), folder), folder / "vm", NETWORKS) as vm:
        assert vm.booted() == "running"
        vm.succeed("mkdir /run/lynis && mount -o ro,fmask=177 /dev/disk/by-id/virtio-lynis-part1 /run/lynis")
        options = "--quick --no-colors --logfile /run/lynis.log --report-file /run/lynis.dat"
        said = vm.succeed(f"cd /run/lynis && TERM=linux sh ./lynis audit system {options}", AUDIT)
        REPORT.write_text(vm.succeed("cat /run/lynis.log"))
        (index,) = re.findall(r"Hardening index : (\d+)", said)
        assert int(index) >= ENOUGH, said.partition("Suggestions")[2]
