"""A virtual machine: QEMU without acceleration, so that it runs, and runs the same, everywhere.

It is watched over QMP and its serial console. Commands run in it through a shell that a systemd
credential starts (systemd.extra-unit), so the disk that is tested is the disk that ships.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lib.vmports import Nic, Qmp, Stream, VmError

BOOT = 600.0  # seconds at most: a boot takes 60 to 80, but not on a machine that is busy with other things
FIRMWARE = Path("/usr/share/OVMF")

# Without Requires= on the device: a busy machine takes longer than systemd waits for one.
_SHELL = """
[Unit]
Description=The test's shell
DefaultDependencies=no
ConditionPathExists=!/etc/initrd-release

[Service]
ExecStart=/bin/bash --noprofile --norc -c 'until [ -e $PORT ]; do sleep 0.2; done; exec bash <>$PORT >&0 2>&0'
Environment=PORT=/dev/virtio-ports/test HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
"""
_START = "[Unit]\nWants=test-shell.service\n"
_NO_ASLR = {"sysctl.extra": "kernel.randomize_va_space = 0\n"}
USB = ("-device", "qemu-xhci")


@dataclass(frozen=True)
class Machine:
    """`disk`: QEMU's arguments for the disk, in which {disk} is the file.

    Without `aslr` a boot takes a sixth less: else QEMU translates what is at another address anew.
    """

    name: str
    disk: tuple[str, ...] = ("-drive", "file={disk},format={format},if=virtio,discard=unmap")
    firmware: str = "bios"  # bios | uefi | secure
    serial: bool = True
    nics: int = 2
    nic: str = "virtio-net-pci"
    aslr: bool = False
    extra: tuple[str, ...] = ()


@dataclass
class Vm:
    """One run of a machine, from power on to power off. A context manager."""

    machine: Machine
    disk: Path
    folder: Path
    credentials: Mapping[str, str] = field(default_factory=dict)

    def __enter__(self) -> Vm:
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self.nics = [Nic(self.folder, number) for number in range(self.machine.nics)]
            for nic in self.nics:
                stack.callback(nic.close)
            self._process = stack.enter_context(_running(self._command(), self.folder / "qemu.log"))
            self._qmp = Qmp(self.folder / "qmp")
            stack.callback(self._qmp.close)
            self._shell = _stream(stack, self.folder / "shell")
            self.console = _stream(stack, self.folder / "serial") if self.machine.serial else None
            self.powered = time.monotonic()
            self._qmp.ask("cont")
            self._close: AbstractContextManager[Any] = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close.__exit__(kind, error, trace)

    def _command(self) -> list[str]:
        machine, folder = self.machine, self.folder
        form = disk_format(self.disk)
        # The plainest CPU takes a quarter less than `max`, whose features all have to be imitated.
        words = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-accel", "tcg", "-cpu", "qemu64",
                 "-smp", "1", "-m", "1024", "-display", "none", "-vga", "std", "-S", "-no-reboot",
                 "-machine", "q35,smm=on" if machine.firmware == "secure" else "q35",
                 "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off",
                 "-device", "virtio-serial-pci",
                 "-chardev", f"socket,id=shell,path={folder / 'shell'},server=on,wait=off",
                 "-device", "virtserialport,chardev=shell,name=test",
                 "-device", "virtio-rng-pci"]  # fmt: skip
        if machine.serial:
            words += ["-chardev", f"socket,id=serial,path={folder / 'serial'},server=on,wait=off",
                      "-serial", "chardev:serial"]  # fmt: skip
        words += _firmware(machine.firmware, folder)
        words += [word.format(disk=self.disk, format=form) for word in machine.disk]
        words += machine.extra
        for number, nic in enumerate(self.nics):
            words += ["-netdev", nic.options]
            words += ["-device", f"{machine.nic},netdev=nic{number},mac={nic.mac},romfile="]
        return [*words, *self._credentials()]

    def _credentials(self) -> Iterator[str]:
        ours = {"systemd.extra-unit.test-shell.service": _SHELL, "systemd.unit-dropin.sysinit.target": _START}
        ours |= {} if self.machine.aslr else _NO_ASLR
        for name, text in (ours | dict(self.credentials)).items():
            file = self.folder / f"{name}.credential"
            packed = base64.b64encode(text.encode()).decode()
            file.write_text(f"io.systemd.credential.binary:{name}={packed}")
            yield from ("-smbios", f"type=11,path={file}")

    def execute(self, command: str, seconds: float = BOOT) -> tuple[int, str]:
        """Runs it in the machine: its exit code, and what it said on both channels."""
        packed = base64.b64encode(command.encode()).decode()
        start = len(self._shell.text)
        self._shell.say(
            f'(eval "$(echo {packed} | base64 -d)") </dev/null >/run/test-said 2>&1; '
            'echo "<$? $(base64 -w 0 /run/test-said)>"\n'.encode()
        )
        found = self._shell.wait_for(r"<(\d+) (\S*)>\n", start, seconds)
        if found is None:
            raise self.error(f"no answer within {seconds:.0f} s to: {command}")
        return int(found[1]), base64.b64decode(found[2]).decode(errors="replace")

    def succeed(self, command: str, seconds: float = BOOT) -> str:
        code, said = self.execute(command, seconds)
        if code != 0:
            raise self.error(f"{command}: exit code {code}\n{said}")
        return said.rstrip("\n")

    def wait_until(self, command: str, seconds: float = BOOT) -> str:
        """Until the command succeeds; the machine itself asks again and again."""
        return self.succeed(
            f"end=$((SECONDS + {seconds:.0f})); until said=$({command} 2>&1); do "
            '[ $SECONDS -lt $end ] || { echo "$said"; exit 1; }; sleep 0.5; done; echo "$said"',
            seconds + 30,
        )

    def wait_for(self, pattern: str, seconds: float = BOOT, start: int = 0) -> re.Match[str]:
        """Until the serial console has said it."""
        assert self.console is not None
        found = self.console.wait_for(pattern, start, seconds)
        if found is None:
            raise self.error(f"the console did not say within {seconds:.0f} s: {pattern}")
        return found

    def booted(self) -> str:
        """Until every job of the boot is done: what systemd says of the whole."""
        return self.execute("systemctl is-system-running --wait")[1].strip()

    def plug_in(self, volume: Mapping[str, object]) -> None:
        """As a USB stick, in a machine that has `USB`."""
        self._qmp.ask("blockdev-add", **{"node-name": "stick", "read-only": True, **volume})
        self._qmp.ask("device_add", driver="usb-storage", drive="stick", id="stick")

    def leave(self, command: str) -> None:
        """By a command that restarts it: what it says gets lost, and so may its end."""
        self._shell.say(f"({command}) </dev/null >/run/test-said 2>&1\n".encode())
        self.wait_for_end()

    def power_off(self) -> None:
        self._qmp.ask("system_powerdown")
        self.wait_for_end()

    def wait_for_end(self, seconds: float = BOOT) -> None:
        """Until it has switched itself off, or on again: a restart ends a run too."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.error(f"still running after {seconds:.0f} s") from None

    def require_running(self) -> None:
        if self._process.poll() is not None:
            raise self.error("QEMU has ended")
        if time.monotonic() - self.powered > BOOT:
            raise self.error(f"not there {BOOT:.0f} s after power on")

    def error(self, what: str) -> VmError:
        said = self.console.text[-4000:] if self.console else "(it has no serial port)"
        return VmError(f"{self.machine.name}: {what}\nThe end of its console:\n{said}")


def disk_format(disk: Path) -> str:
    return {".qcow2": "qcow2", ".vhdx": "vhdx", ".vmdk": "vmdk"}.get(disk.suffix, "raw")


def _firmware(kind: str, folder: Path) -> Sequence[str]:
    if kind == "bios":
        return ()
    code, variables = {
        "uefi": ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
        "secure": ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
    }[kind]
    shutil.copy(FIRMWARE / variables, folder / "variables")
    secure = ("-global", "driver=cfi.pflash01,property=secure,value=on") if kind == "secure" else ()
    return (*secure,
            "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE / code}",
            "-drive", f"if=pflash,unit=1,format=raw,file={folder / 'variables'}")  # fmt: skip


@contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    # It ends with the tests, however they end, and has the CPU while nothing else wants it.
    modest = ["setpriv", "--pdeathsig=KILL", "chrt", "--idle", "0", *command]
    with log.open("wb") as said:
        process = subprocess.Popen(modest, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        _until(lambda: (Path(log.parent) / "qmp").exists() or process.poll() is not None)
        if process.poll() is not None:
            raise VmError(f"QEMU did not start:\n{log.read_text()}")
        yield process
    finally:
        process.kill()
        process.wait()


def _stream(stack: ExitStack, path: Path) -> Stream:
    stream = Stream(path)
    stack.callback(stream.close)
    return stream


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise VmError(f"QEMU did not open its ports within {seconds:.0f} s")
        time.sleep(0.01)
