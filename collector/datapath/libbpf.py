"""The distribution's libbpf by ctypes: what this product needs of it, and nothing else.

File descriptors are `Fd` objects that close themselves. Every failure is a `BpfError` with the
kernel's errno and what libbpf, the verifier or a driver said about it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from collector.errors import HostError

XDP = 37  # enum bpf_attach_type
TCX_INGRESS = 46
XDP_GENERIC = 2  # XDP_FLAGS_SKB_MODE
XDP_NATIVE = 4  # XDP_FLAGS_DRV_MODE
UNFINISHED = "_new"  # ends the name of a pin that is not in its place yet
LIVE_FRAMES = 2  # BPF_F_TEST_XDP_LIVE_FRAMES
_LONGEST_LOG = 1 << 22  # bytes; the verifier says much


class BpfError(OSError):
    """`log`: what libbpf and the verifier printed, which for XDP includes the driver's words."""

    def __init__(self, number: int, doing: str, log: str = "") -> None:
        super().__init__(number, f"{doing}: {os.strerror(number)}")
        self.log = log

    def __str__(self) -> str:
        return f"{self.strerror}\n{self.log}" if self.log else str(self.strerror)


class Fd:
    """A file descriptor that is closed when nothing refers to it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


@dataclass(frozen=True)
class ProgramInfo:
    id: int
    name: str
    map_ids: tuple[int, ...]
    run_time_ns: int  # counted while kernel.bpf_stats_enabled is set
    run_count: int


@dataclass(frozen=True)
class LinkInfo:
    id: int
    program_id: int
    ifindex: int  # of an XDP or tcx link; 0 once the NIC is gone


_LOG: list[str] = []
_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_LIBC = ctypes.CDLL(None)
_LIBC.vsnprintf.argtypes = [c_char_p, c_size_t, c_char_p, c_void_p]


@_PRINT  # type: ignore[untyped-decorator]
def _keep_log(level: int, form: bytes, arguments: int) -> int:
    if level == 0:  # LIBBPF_WARN
        line = ctypes.create_string_buffer(_LONGEST_LOG)
        _LIBC.vsnprintf(line, len(line), form, arguments)
        _LOG.append(line.value.decode(errors="replace").rstrip())
    return 0


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_object__open_file": (c_void_p, [c_char_p, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__find_map_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_object__find_program_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_map__reuse_fd": (c_int, [c_void_p, c_int]),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint32]),
    "bpf_map__set_initial_value": (c_int, [c_void_p, c_void_p, c_size_t]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_program__set_autoload": (c_int, [c_void_p, ctypes.c_bool]),
    "bpf_obj_get": (c_int, [c_char_p]),
    "bpf_obj_pin": (c_int, [c_int, c_char_p]),
    "bpf_obj_get_info_by_fd": (c_int, [c_int, c_void_p, POINTER(c_uint32)]),
    "bpf_prog_get_fd_by_id": (c_int, [c_uint32]),
    "bpf_map_get_fd_by_id": (c_int, [c_uint32]),
    "bpf_map_create": (c_int, [c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p]),
    "bpf_map_lookup_elem": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_map_update_elem": (c_int, [c_int, c_void_p, c_void_p, c_uint64]),
    "bpf_map_get_next_key": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_link_create": (c_int, [c_int, c_int, c_int, c_void_p]),
    "bpf_link_update": (c_int, [c_int, c_int, c_void_p]),
    "bpf_link_detach": (c_int, [c_int]),
    "bpf_raw_tracepoint_open": (c_int, [c_char_p, c_int]),
    "bpf_xdp_attach": (c_int, [c_int, c_int, c_uint32, c_void_p]),
    "bpf_prog_test_run_opts": (c_int, [c_int, c_void_p]),
    "libbpf_num_possible_cpus": (c_int, []),
}


@cache  # loaded at first use: --help needs no libbpf
def _lib() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        raise HostError("libbpf.so.1 is not installed", "install it: apt install libbpf1") from None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(_keep_log)
    return library


def call(doing: str, name: str, *arguments: Any) -> int:
    """Calls libbpf; a negative result raises, with what was printed meanwhile."""
    function = getattr(_lib(), name)
    _LOG.clear()
    result: int = function(*arguments)
    if result < 0:
        raise BpfError(-result if result < -1 else ctypes.get_errno(), doing, "\n".join(_LOG))
    return result


class Object:
    """A compiled object on its way into the kernel: open, set up, `load`, take what is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _LOG.clear()
        self._handle = _lib().bpf_object__open_file(str(path).encode(), None)
        if not self._handle:
            raise BpfError(ctypes.get_errno(), f"opening {path}", "\n".join(_LOG))

    def _map(self, name: str) -> int:
        found: int | None = _lib().bpf_object__find_map_by_name(self._handle, name.encode())
        if not found:
            raise KeyError(f"{self.path} has no map {name}")
        return found

    def _program(self, name: str) -> int:
        found: int | None = _lib().bpf_object__find_program_by_name(self._handle, name.encode())
        if not found:
            raise KeyError(f"{self.path} has no program {name}")
        return found

    def set_constants(self, map_name: str, value: bytes) -> None:
        call(f"setting {map_name}", "bpf_map__set_initial_value", self._map(map_name), value, len(value))

    def set_max_entries(self, map_name: str, entries: int) -> None:
        call(f"sizing {map_name}", "bpf_map__set_max_entries", self._map(map_name), entries)

    def reuse_map(self, map_name: str, fd: Fd) -> None:
        call(f"reusing {map_name}", "bpf_map__reuse_fd", self._map(map_name), fd.number)

    def leave_out(self, program: str) -> None:
        call(f"leaving out {program}", "bpf_program__set_autoload", self._program(program), False)

    def load(self) -> None:
        call(f"loading {self.path.name}", "bpf_object__load", self._handle)

    def map(self, name: str) -> Fd:
        return Fd(os.dup(_lib().bpf_map__fd(self._map(name))))

    def program(self, name: str) -> Fd:
        return Fd(os.dup(_lib().bpf_program__fd(self._program(name))))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            _lib().bpf_object__close(self._handle)


def possible_cpus() -> int:
    return call("counting CPUs", "libbpf_num_possible_cpus")


def pinned(path: Path) -> Fd | None:
    """What is pinned at `path`, or None where nothing is."""
    try:
        return Fd(call(f"opening {path}", "bpf_obj_get", str(path).encode()))
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def pin(fd: Fd, path: Path) -> None:
    """Pins under a name of its own first, so that an older pin is replaced in one step."""
    fresh = path.with_name(path.name + UNFINISHED)
    fresh.unlink(missing_ok=True)
    call(f"pinning {path}", "bpf_obj_pin", fd.number, str(fresh).encode())
    try:
        fresh.rename(path)
    except OSError:
        fresh.unlink()
        raise


def program_by_id(program_id: int) -> Fd:
    return Fd(call(f"opening program {program_id}", "bpf_prog_get_fd_by_id", program_id))


def buffer(size: int) -> Any:
    """Zeroed memory to be filled by a call; `.raw` are its bytes."""
    return ctypes.create_string_buffer(size)


def read_info(fd: Fd, into: Any) -> bytes:
    """Fills one of the structs bpf_prog_info, bpf_map_info and bpf_link_info (linux/bpf.h)."""
    size = c_uint32(len(into))
    call("asking for information", "bpf_obj_get_info_by_fd", fd.number, into, byref(size))
    return bytes(into.raw)


def program_info(fd: Fd) -> ProgramInfo:
    """Out of struct bpf_prog_info, linux/bpf.h, as far as run_cnt."""
    map_ids = (c_uint32 * 64)()
    raw = buffer(208)
    struct.pack_into("=IQ", raw, 52, len(map_ids), ctypes.addressof(map_ids))  # nr_map_ids, map_ids
    told = read_info(fd, raw)
    number, (count,) = struct.unpack_from("I", told, 4)[0], struct.unpack_from("I", told, 52)
    return ProgramInfo(
        number, text(told[64:80]), tuple(map_ids[:count]), *struct.unpack_from("2Q", told, 192)
    )


def link_info(fd: Fd) -> LinkInfo:
    told = read_info(fd, buffer(32))  # struct bpf_link_info with the xdp or tcx part
    _type, number, program, _pad, ifindex = struct.unpack_from("5I", told)
    return LinkInfo(number, program, ifindex)


def text(name: bytes) -> str:
    return name.rstrip(b"\0").decode()


def create_link(program: Fd, ifindex: int, attach_type: int, flags: int = 0) -> Fd:
    options = struct.pack("NI52x", 64, flags)  # struct bpf_link_create_opts, bpf/bpf.h
    doing = f"attaching to interface {ifindex}"
    return Fd(call(doing, "bpf_link_create", program.number, ifindex, attach_type, options))


def update_link(link: Fd, program: Fd) -> None:
    call("replacing a program", "bpf_link_update", link.number, program.number, None)


def detach_link(link: Fd) -> None:
    call("detaching a program", "bpf_link_detach", link.number)


def attach_tracepoint(program: Fd) -> Fd:
    """A link for a `tp_btf` program, which names its tracepoint itself."""
    return Fd(call("attaching to a tracepoint", "bpf_raw_tracepoint_open", None, program.number))


_TEST_RUN = struct.Struct("NPPIIPPIIIiIIII")  # struct bpf_test_run_opts, bpf/bpf.h


def test_run(
    program: Fd, data: bytes, *, repeat: int = 1, flags: int = 0, batch: int = 0, context: bytes = b""
) -> tuple[int, bytes, bytes]:
    """BPF_PROG_TEST_RUN: (the program's verdict, the packet after it, the context after it)."""
    give_back = not flags & LIVE_FRAMES
    packet, packet_out = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(16384)
    context_out = ctypes.create_string_buffer(max(len(context), 1))
    options = ctypes.create_string_buffer(_TEST_RUN.size)
    out = (ctypes.addressof(packet_out), len(packet_out)) if give_back else (0, 0)
    context_in = ctypes.create_string_buffer(context, max(len(context), 1))
    about = (
        ctypes.addressof(context_in) if context else 0,
        ctypes.addressof(context_out) if context and give_back else 0,
        len(context),
        len(context) if give_back else 0,
    )
    _TEST_RUN.pack_into(
        options, 0, _TEST_RUN.size, ctypes.addressof(packet), out[0], len(data), out[1], *about,
        0, repeat, 0, flags, 0, batch,
    )  # fmt: skip
    call("running a program", "bpf_prog_test_run_opts", program.number, options)
    values = _TEST_RUN.unpack(options.raw)
    return values[9], packet_out.raw[: values[4]], context_out.raw[: len(context)]
