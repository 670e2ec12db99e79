"""`python -m tests.bench.power_on`: seconds from power on until mirrored frames leave as VXLAN.

The appliance as `make image` builds it, configured, against a bare Debian 13 of the same kernel that forwards
by the vendor's recipe (`bare/`), in turn, on the same QEMU. Both have one disk, one CPU and a fixed address.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.lib.appliance import (
    NETWORKS,
    UPLINK,
    answer_arp,
    artefact,
    configure,
    disk_on,
    seconds_to_forwarding,
)
from tests.lib.vm import Machine, Vm

BARE = Path(__file__).parent / "bare" / "build.sh"
LIMIT = 1.5  # times the bare Debian
MACHINE = Machine("BIOS, virtio", aslr=True)


@contextmanager
def disks() -> Iterator[dict[str, Path]]:
    with TemporaryDirectory(prefix="collector-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        subprocess.run([BARE, folder / "bare.raw"], check=True)
        yield {"appliance": _configured(folder), "bare": folder / "bare.raw"}


def _configured(folder: Path) -> Path:
    disk = disk_on(artefact("raw"), folder, "2G")
    with Vm(MACHINE, disk, folder / "first", NETWORKS) as vm:
        answer_arp(vm.nics[UPLINK])
        vm.booted()
        configure(vm, "xdp")
        vm.succeed("cp /run/systemd/network/*.network /etc/systemd/network/")
        vm.power_off()
    return disk


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Boots of each.")
def main(rounds: int) -> None:
    """Measures the time from power on until frames are forwarded, against a bare Debian."""
    with disks() as found:
        figures = _in_turn(found, rounds, lambda line: click.echo(line, err=True))
    best = {name: min(seconds) for name, seconds in figures.items()}
    for name, seconds in figures.items():
        listed = ", ".join(f"{each:.1f}" for each in seconds)
        click.echo(f"{name:<10} {best[name]:6.1f} s, the best of {listed}")
    click.echo(f"{'ratio':<10} {best['appliance'] / best['bare']:6.2f}, at most {LIMIT}")


def _in_turn(found: dict[str, Path], rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {name: [] for name in found}
    for number in range(rounds):
        for name, disk in found.items():
            folder = disk.parent / f"{name}-{number}"
            with Vm(MACHINE, disk, folder) as vm:
                answer_arp(vm.nics[UPLINK])
                seconds = seconds_to_forwarding(vm)
            figures[name].append(seconds)
            say(f"round {number + 1} of {rounds}: {name} {seconds:.1f} s")
    return figures


if __name__ == "__main__":
    main()
