"""Puts the program's parts where frames pass, and finds them there again.

XDP and tcx are BPF links, pinned as `xdp_IFINDEX` and `tc_IFINDEX`: no process holds them. Before
Linux 6.6 there is no tcx: the program becomes a filter of a clsact qdisc, and is itself pinned as
`clsact_IFINDEX`, or as `filter_IFINDEX` where somebody else's qdisc serves.
"""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.datapath import libbpf
from collector.datapath.libbpf import BpfError, Fd
from collector.datapath.program import LOSS_PROGRAMS

FORWARD_XDP = "collector_xdp"
BYSTANDER = "collector_pass"
FORWARD_TC = "collector_tc"

_INGRESS = 0xFFFFFFF2
_CLSACT_PARENT = 0xFFFFFFF1
_ETH_P_ALL = 3
_PRIORITY = 1
_HANDLE = 0xC05A
_TCA_BPF_ID = 11  # linux/pkt_cls.h
_XDP_IF_NOEXIST = 1  # XDP_FLAGS_UPDATE_IF_NOEXIST
_FLAGS = {"xdp-native": libbpf.XDP_NATIVE, "xdp-generic": libbpf.XDP_GENERIC}


class Hook(StrEnum):
    XDP_NATIVE = "xdp-native"
    XDP_GENERIC = "xdp-generic"
    TC = "tc"

    @property
    def is_xdp(self) -> bool:
        return self is not Hook.TC


@dataclass(frozen=True)
class Attached:
    """A program of ours that frames pass now."""

    ifindex: int
    is_xdp: bool
    program: Fd
    info: libbpf.ProgramInfo


class XdpRefusedError(Exception):
    """A driver does not take XDP; `words` are the kernel's or the driver's own."""

    def __init__(self, ifindex: int, words: str) -> None:
        super().__init__(words)
        self.ifindex = ifindex
        self.words = words


_REFUSALS = {
    errno.EOPNOTSUPP: "the driver has no native XDP",
    errno.ERANGE: "the MTU is too large for it",
    errno.EBUSY: "another program is attached",
    errno.EEXIST: "another program is attached",
    errno.EINVAL: "the driver does not take it as this interface is set up",
    errno.ENOSPC: "the interface has too few queues for it",
    errno.E2BIG: "the MTU is too large for it",
}


def attach(program: Fd, ifindex: int, hook: Hook, folder: Path, netlink: IPRoute) -> None:
    """XdpRefusedError where the driver does not want it."""
    if hook.is_xdp:
        link = _attach_xdp(program, ifindex, hook)
        libbpf.pin(link, folder / f"xdp_{ifindex}")
        return
    try:
        link = libbpf.create_link(program, ifindex, libbpf.TCX_INGRESS)
    except BpfError as error:
        if error.errno != errno.EINVAL:
            raise
        attach_filter(program, ifindex, folder, netlink)
    else:
        libbpf.pin(link, folder / f"tc_{ifindex}")


def _attach_xdp(program: Fd, ifindex: int, hook: Hook) -> Fd:
    try:
        return libbpf.create_link(program, ifindex, libbpf.XDP, _FLAGS[hook])
    except BpfError as error:
        if error.errno not in _REFUSALS:
            raise
        words = xdp_refusal(program, ifindex) or _REFUSALS.get(error.errno or 0, error.strerror or "")
        raise XdpRefusedError(ifindex, words) from None


def xdp_refusal(program: Fd, ifindex: int) -> str | None:
    """The driver's words ("" if it has none) why it takes no native XDP; None if it does, for a moment."""
    flags = libbpf.XDP_NATIVE | _XDP_IF_NOEXIST
    try:
        libbpf.call("attaching XDP", "bpf_xdp_attach", ifindex, program.number, flags, None)
    except BpfError as error:
        marker = "Kernel error message: "
        said = [line.partition(marker)[2] for line in error.log.splitlines() if marker in line]
        return said[0] if said else ""
    libbpf.call("detaching XDP", "bpf_xdp_attach", ifindex, -1, libbpf.XDP_NATIVE, None)
    return None


def _link_pin(ifindex: int, hook: Hook, folder: Path) -> Path:
    return folder / f"{'xdp' if hook.is_xdp else 'tc'}_{ifindex}"


def _filter_pin(ifindex: int, folder: Path) -> Path | None:
    """`clsact_N` where the qdisc is ours too, `filter_N` where it is somebody's."""
    pins = (folder / f"{kind}_{ifindex}" for kind in ("clsact", "filter"))
    return next((path for path in pins if path.exists()), None)


def attached_program(ifindex: int, hook: Hook, folder: Path) -> Fd | None:
    """None where nothing is, or only the pin of something that somebody took away."""
    link = libbpf.pinned(_link_pin(ifindex, hook, folder))
    if link:
        info = libbpf.link_info(link)
        return libbpf.program_by_id(info.program_id) if info.ifindex else None
    kept = None if hook.is_xdp else _filter_pin(ifindex, folder)
    return libbpf.pinned(kept) if kept else None


def replace(program: Fd, ifindex: int, hook: Hook, folder: Path, netlink: IPRoute) -> Fd:
    """No frame passes between the old program, which is returned, and the new one."""
    former = attached_program(ifindex, hook, folder)
    if former is None:
        raise FileNotFoundError(errno.ENOENT, f"nothing is pinned for interface {ifindex}", str(folder))
    link = libbpf.pinned(_link_pin(ifindex, hook, folder))
    if link:
        libbpf.update_link(link, program)
    else:
        attach_filter(program, ifindex, folder, netlink)
    return former


def detach(ifindex: int, hook: Hook, folder: Path, netlink: IPRoute) -> None:
    """Quietly does nothing where the NIC, and the program with it, is gone."""
    path = _link_pin(ifindex, hook, folder)
    link = libbpf.pinned(path)
    if link:
        if libbpf.link_info(link).ifindex:
            libbpf.detach_link(link)
        path.unlink()
    kept = None if hook.is_xdp else _filter_pin(ifindex, folder)
    if kept:
        _detach_filter(ifindex, netlink, with_qdisc=kept.name.startswith("clsact"))
        kept.unlink()


def restore(former: Fd, ifindex: int, hook: Hook, folder: Path, netlink: IPRoute) -> None:
    """After a `detach` that may have done its work, a part of it, or nothing."""
    path = _link_pin(ifindex, hook, folder)
    link = libbpf.pinned(path)
    if link and libbpf.link_info(link).ifindex:
        return
    if link is None and not hook.is_xdp and _filter_pin(ifindex, folder):
        attach_filter(former, ifindex, folder, netlink)
        return
    path.unlink(missing_ok=True)
    attach(former, ifindex, hook, folder, netlink)


def attach_filter(program: Fd, ifindex: int, folder: Path, netlink: IPRoute) -> None:
    pin = _filter_pin(ifindex, folder) or folder / f"clsact_{ifindex}"
    try:
        netlink.tc("add", "clsact", ifindex)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
        pin = _filter_pin(ifindex, folder) or folder / f"filter_{ifindex}"
    netlink.tc(
        "replace-filter", "bpf", ifindex, handle=_HANDLE, parent=_INGRESS, prio=_PRIORITY,
        protocol=_ETH_P_ALL, fd=program.number, name=FORWARD_TC, classid=1, direct_action=True,
    )  # fmt: skip
    libbpf.pin(program, pin)


def _detach_filter(ifindex: int, netlink: IPRoute, *, with_qdisc: bool) -> None:
    with _may_be_gone():
        netlink.tc(
            "del-filter", "bpf", ifindex, handle=_HANDLE, parent=_INGRESS, prio=_PRIORITY, protocol=_ETH_P_ALL
        )
    with _may_be_gone():
        if with_qdisc and not any(True for _ in _filters(ifindex, netlink)):
            netlink.tc("del", "clsact", ifindex)


@contextmanager
def _may_be_gone() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            raise


def _filters(ifindex: int, netlink: IPRoute) -> Iterator[Any]:
    for parent in (_INGRESS, _CLSACT_PARENT + 2):
        yield from netlink.get_filters(index=ifindex, parent=parent)


_PIN = re.compile(r"(xdp|tc|filter|clsact)_(\d+)")


def pins(folder: Path) -> frozenset[tuple[int, bool]]:
    """(ifindex, whether XDP) of everything that was attached, whether it still is or not."""
    found = [match for path in folder.iterdir() if (match := _PIN.fullmatch(path.name))]
    return frozenset((int(match[2]), match[1] == "xdp") for match in found)


def program_ids(folder: Path) -> frozenset[int]:
    """Of all links pinned here, those of an apply that was killed included."""
    links = [libbpf.pinned(path) for path in folder.iterdir() if path.name.startswith(("xdp_", "tc_"))]
    return frozenset(libbpf.link_info(link).program_id for link in links if link)


def find(folder: Path, netlink: IPRoute) -> list[Attached]:
    """What is pinned and really passed by frames; a severed link or a deleted filter is left out."""
    found = []
    for path in sorted(folder.iterdir()):
        match = _PIN.fullmatch(path.name)
        fd = libbpf.pinned(path) if match else None
        program = _live_program(match[1], int(match[2]), fd, netlink) if match and fd else None
        if match and program:
            found.append(Attached(int(match[2]), match[1] == "xdp", program, libbpf.program_info(program)))
    return found


def _live_program(kind: str, ifindex: int, fd: Fd, netlink: IPRoute) -> Fd | None:
    if kind in ("xdp", "tc"):
        info = libbpf.link_info(fd)
        return libbpf.program_by_id(info.program_id) if info.ifindex == ifindex else None
    wanted = libbpf.program_info(fd).id
    return fd if wanted in map(_filter_program, _filters(ifindex, netlink)) else None


def _filter_program(message: Any) -> int | None:
    """TCA_BPF_ID, an attribute that pyroute2 has no name for."""
    options = message.get_attr("TCA_OPTIONS")
    for name, value in options["attrs"] if options else ():
        if name == "UNKNOWN" and value["header"]["type"] == _TCA_BPF_ID:
            return int(struct.unpack_from("I", value.data, value.offset + 4)[0])
    return None


def watch_losses(program: libbpf.Object, folder: Path) -> None:
    """Attaches the tracepoints anew; the links pinned before go when their pins are replaced."""
    for name in LOSS_PROGRAMS:
        libbpf.pin(libbpf.attach_tracepoint(program.program(name)), folder / name)
