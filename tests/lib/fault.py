"""The command line with a fault built in: a change that fails, a process that is killed half-way.

As a script it answers requests: it has the product imported, and forks for each, so that hundreds of
faults take seconds. Nothing of the product knows of it.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from pyroute2 import netns
from pyroute2.ethtool.ioctl import IoctlEthtool
from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

import collector.cli
from collector.control import check, host, metrics, show, transaction
from collector.datapath import libbpf
from collector.errors import HostError
from collector.operate.lab import Namespace, stop

ROOT = Path(__file__).parents[2]
NOTHING_FAILED = 99  # leaves with this where the fault's number was never reached
WORDS = "the fault that the test asked for"
# Each way in which the product writes: to the kernel's BPF, by netlink, by ioctl, to /proc and to bpffs.
_BPF = (
    "bpf_object__load", "bpf_obj_pin", "bpf_map_create", "bpf_map_update_elem", "bpf_link_create",
    "bpf_link_update", "bpf_link_detach", "bpf_raw_tracepoint_open",
)  # fmt: skip
_FILES = ((os, "mkdir"), (os, "unlink"), (os, "rename"), (os, "rmdir"), (Path, "write_text"))
_READING = ("get", "dump")


@dataclass(frozen=True)
class Fault:
    """`at`: which one, from 0. `of`: "change", one of the plan's; "write", any write; "rename", one of those
    in bpffs; "verify"; "" for none.

    `how`: "raise", or "kill" as by SIGKILL. `tcx`: False makes this a kernel before Linux 6.6.
    """

    of: str = ""
    at: int = 0
    how: str = "raise"
    tcx: bool = True


NO_FAULT = Fault()


@dataclass(frozen=True)
class Outcome:
    code: int  # negative: the signal that ended it
    out: str
    err: str


class Faulty:
    """Runs `collector` in a namespace, with a fault or without. `at_hand`: the one of this process."""

    at_hand: ClassVar[Faulty]

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.lib.fault"],
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        Faulty.at_hand = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del Faulty.at_hand
        stop(self._server)

    def run(self, machine: Namespace, argv: Sequence[str], fault: Fault = NO_FAULT) -> Outcome:
        assert self._server.stdin
        assert self._server.stdout
        out, err = self._folder / "out", self._folder / "err"
        request = {"netns": machine.path, "argv": argv, "out": str(out), "err": str(err)}
        self._server.stdin.write(json.dumps(request | asdict(fault)) + "\n")
        self._server.stdin.flush()
        return Outcome(int(self._server.stdout.readline()), out.read_text(), err.read_text())


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become_collector(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become_collector(request: dict[str, Any]) -> None:
    code = 70
    try:
        netns.setns(request["netns"])
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.argv = ["collector", *request["argv"]]
        pending = _inject(Fault(request["of"], request["at"], request["how"], request["tcx"]))
        code = _exit_code()
        code = NOTHING_FAILED if code == 0 and pending() else code
    except BaseException:  # noqa: BLE001  a fault of this file must not answer further requests
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _exit_code() -> int:
    try:
        collector.cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:  # noqa: BLE001  as the interpreter would show it
        traceback.print_exc()
        return 70
    return 0


def _inject(fault: Fault) -> Callable[[], bool]:
    """Returns whether the fault is still to come."""
    count = iter(range(1 << 30))
    reached: list[bool] = []

    def strikes() -> bool:
        if next(count) != fault.at:
            return False
        reached.append(True)
        if fault.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    if fault.of == "change":
        _wrap_method(transaction.Transaction, "_carry_out", strikes, _refuse_file)
    elif fault.of == "verify":
        _wrap_method(transaction.Transaction, "_verify", strikes, _refuse_verified)
    elif fault.of == "write":
        _wrap_writes(strikes)
    elif fault.of == "rename":
        _wrap(os, "rename", strikes, _refuse_file)
    if not fault.tcx:
        _forget_tcx()
    return lambda: bool(fault.of) and not reached


def _wrap_writes(strikes: Callable[[], bool]) -> None:
    for name in _BPF:
        _wrap(libbpf._lib(), name, strikes, lambda: -errno.EIO)
    for owner, name in _FILES:
        _wrap(owner, name, strikes, _refuse_file)
    _wrap_features(strikes)
    original = IPRoute._run_generic_rtnl

    def request(self: IPRoute, method: Any, *arguments: Any, **named: Any) -> Any:
        reads = not arguments or arguments[0] in _READING
        if not reads and strikes():
            raise NetlinkError(errno.EIO, WORDS)
        return original(self, method, *arguments, **named)

    IPRoute._run_generic_rtnl = request


def _wrap_features(strikes: Callable[[], bool]) -> None:
    """Of the many offloads that the splitter has switched off, one fails: the others are no different."""
    original = IoctlEthtool.set_features
    failed: set[str] = set()

    def set_features(self: IoctlEthtool, wanted: Any) -> None:
        name = self.ifname.rstrip(b"\0").decode()
        if not (name.startswith("collector-") and name in failed) and strikes():
            _refuse_file()
        failed.add(name)
        original(self, wanted)

    IoctlEthtool.set_features = set_features


def _wrap(owner: Any, name: str, strikes: Callable[[], bool], refuse: Callable[[], int]) -> None:
    original = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        return refuse() if strikes() else original(*arguments, **named)

    setattr(owner, name, wrapped)


def _wrap_method(owner: type, name: str, strikes: Callable[[], bool], refuse: Callable[[], int]) -> None:
    method = owner.__dict__[name]  # which may choose by the type of its argument

    def wrapped(self: object, *arguments: Any) -> Any:
        return refuse() if strikes() else method.__get__(self, owner)(*arguments)

    setattr(owner, name, wrapped)


def _refuse_file() -> int:
    raise OSError(errno.EIO, WORDS)


def _refuse_verified() -> int:
    raise HostError(WORDS)


def _forget_tcx() -> None:
    original = libbpf.create_link

    def create_link(program: libbpf.Fd, ifindex: int, attach_type: int, flags: int = 0) -> libbpf.Fd:
        if attach_type == libbpf.TCX_INGRESS:
            raise libbpf.BpfError(errno.EINVAL, f"attaching to interface {ifindex}")
        return original(program, ifindex, attach_type, flags)

    libbpf.create_link = create_link


if __name__ == "__main__":
    sys.dont_write_bytecode = True  # or a write of the interpreter's would be counted as one of the product's
    # What the commands import when they are called, imported once.
    assert all((check, host, metrics, show))
    serve()
