"""The distribution's libbpf by ctypes: what this product needs of it, and nothing else.

File descriptors are `Fd` objects that close themselves. Every failure is a `BpfError` with the
kernel's errno and what libbpf, the verifier or a driver said about it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.errors import HostError

XDP = 37  # enum bpf_attach_type
TCX_INGRESS = 46
XDP_GENERIC = 2  # XDP_FLAGS_SKB_MODE
XDP_NATIVE = 4  # XDP_FLAGS_DRV_MODE
_XDP_IF_NOEXIST = 1  # XDP_FLAGS_UPDATE_IF_NOEXIST
LIVE_FRAMES = 2  # BPF_F_TEST_XDP_LIVE_FRAMES
_PER_CPU_MAPS = {5, 6, 10}  # percpu hash, percpu array, lru percpu hash
_ANY = 0
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

    def fileno(self) -> int:
        return self.number

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
class MapInfo:
    id: int
    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int


@dataclass(frozen=True)
class LinkInfo:
    id: int
    program_id: int
    ifindex: int  # of an XDP or tcx link; 0 once the NIC is gone


class _ProgInfo(ctypes.Structure):
    """struct bpf_prog_info, linux/bpf.h, as far as run_cnt."""

    _fields_ = [
        ("type", c_uint32),
        ("id", c_uint32),
        ("tag", c_uint64),
        ("jited_len", c_uint32),
        ("xlated_len", c_uint32),
        ("jited", c_uint64),
        ("xlated", c_uint64),
        ("load_time", c_uint64),
        ("uid", c_uint32),
        ("nr_map_ids", c_uint32),
        ("map_ids", c_uint64),
        ("name", ctypes.c_char * 16),
        ("ifindex", c_uint32),
        ("gpl", c_uint32),
        ("netns_dev", c_uint64),
        ("netns_ino", c_uint64),
        ("nr_jited_ksyms", c_uint32),
        ("nr_jited_func_lens", c_uint32),
        ("jited_ksyms", c_uint64),
        ("jited_func_lens", c_uint64),
        ("btf_id", c_uint32),
        ("func_info_size", c_uint32),
        ("func_info", c_uint64),
        ("nr_func_info", c_uint32),
        ("nr_line_info", c_uint32),
        ("line_info", c_uint64),
        ("jited_line_info", c_uint64),
        ("nr_jited_line_info", c_uint32),
        ("line_info_size", c_uint32),
        ("jited_line_info_size", c_uint32),
        ("nr_prog_tags", c_uint32),
        ("prog_tags", c_uint64),
        ("run_time_ns", c_uint64),
        ("run_cnt", c_uint64),
    ]


class _TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts, bpf/bpf.h."""

    _fields_ = [
        ("size", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    ]


class _LinkCreateOpts(ctypes.Structure):
    """struct bpf_link_create_opts, bpf/bpf.h, as far as flags."""

    _fields_ = [
        ("size", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
        ("attach_specific", c_uint64 * 4),
    ]


_LOG: list[str] = []
_PRINT = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_LIBC = ctypes.CDLL(None)
_LIBC.vsnprintf.argtypes = [c_char_p, c_size_t, c_char_p, c_void_p]


@_PRINT
def _keep_log(level: int, form: bytes, arguments: int) -> int:
    warn_or_info = 1
    if level <= warn_or_info:
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
    "bpf_xdp_query_id": (c_int, [c_int, c_int, POINTER(c_uint32)]),
    "bpf_prog_test_run_opts": (c_int, [c_int, c_void_p]),
    "libbpf_num_possible_cpus": (c_int, []),
}


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError:
        raise HostError("libbpf.so.1 is not installed", "install it: apt install libbpf1") from None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(_keep_log)
    return library


_library: ctypes.CDLL | None = None


def _lib() -> ctypes.CDLL:
    global _library  # noqa: PLW0603  loaded once, at first use, so that --help needs no libbpf
    if _library is None:
        _library = _load()
    return _library


def _call(doing: str, name: str, *arguments: Any) -> int:
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
        _call(f"setting {map_name}", "bpf_map__set_initial_value", self._map(map_name), value, len(value))

    def set_max_entries(self, map_name: str, entries: int) -> None:
        _call(f"sizing {map_name}", "bpf_map__set_max_entries", self._map(map_name), entries)

    def reuse_map(self, map_name: str, fd: Fd) -> None:
        _call(f"reusing {map_name}", "bpf_map__reuse_fd", self._map(map_name), fd.number)

    def leave_out(self, program: str) -> None:
        _call(f"leaving out {program}", "bpf_program__set_autoload", self._program(program), False)

    def load(self) -> None:
        _call(f"loading {self.path.name}", "bpf_object__load", self._handle)

    def map(self, name: str) -> Fd:
        return Fd(os.dup(_lib().bpf_map__fd(self._map(name))))

    def program(self, name: str) -> Fd:
        return Fd(os.dup(_lib().bpf_program__fd(self._program(name))))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            _lib().bpf_object__close(self._handle)


def possible_cpus() -> int:
    return _call("counting CPUs", "libbpf_num_possible_cpus")


def pinned(path: Path) -> Fd | None:
    """What is pinned at `path`, or None where nothing is."""
    try:
        return Fd(_call(f"opening {path}", "bpf_obj_get", str(path).encode()))
    except BpfError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def pin(fd: Fd, path: Path) -> None:
    """Pins under a name of its own first, so that an older pin is replaced in one step."""
    fresh = path.with_name(path.name + "_new")
    fresh.unlink(missing_ok=True)
    _call(f"pinning {path}", "bpf_obj_pin", fd.number, str(fresh).encode())
    fresh.rename(path)


def program_by_id(program_id: int) -> Fd:
    return Fd(_call(f"opening program {program_id}", "bpf_prog_get_fd_by_id", program_id))


def map_by_id(map_id: int) -> Fd:
    return Fd(_call(f"opening map {map_id}", "bpf_map_get_fd_by_id", map_id))


def create_array(name: str, value_size: int, entries: int = 1) -> Fd:
    array = 2
    number = _call(f"creating map {name}", "bpf_map_create", array, name.encode(), 4, value_size, entries, None)
    return Fd(number)


def _info(fd: Fd, into: Any) -> None:
    size = c_uint32(ctypes.sizeof(into))
    _call("asking for information", "bpf_obj_get_info_by_fd", fd.number, byref(into), byref(size))


def program_info(fd: Fd) -> ProgramInfo:
    map_ids = (c_uint32 * 64)()
    info = _ProgInfo(nr_map_ids=len(map_ids), map_ids=ctypes.addressof(map_ids))
    _info(fd, info)
    used = tuple(map_ids[: info.nr_map_ids])
    return ProgramInfo(info.id, info.name.decode(), used, info.run_time_ns, info.run_cnt)


def map_info(fd: Fd) -> MapInfo:
    raw = ctypes.create_string_buffer(40)  # struct bpf_map_info as far as name
    _info(fd, raw)
    kind, number, key, value, entries, _flags, name = struct.unpack("6I16s", raw.raw)
    return MapInfo(number, name.rstrip(b"\0").decode(), kind, key, value, entries)


def link_info(fd: Fd) -> LinkInfo:
    raw = ctypes.create_string_buffer(32)  # struct bpf_link_info with the xdp or tcx part
    _info(fd, raw)
    _type, number, program, _pad, ifindex = struct.unpack_from("5I", raw.raw)
    return LinkInfo(number, program, ifindex)


def lookup(fd: Fd, key: bytes, info: MapInfo | None = None) -> list[bytes]:
    """The value, one for each possible CPU where the map keeps several. KeyError: not there."""
    info = info or map_info(fd)
    copies = possible_cpus() if info.type in _PER_CPU_MAPS else 1
    stride = (info.value_size + 7) // 8 * 8
    raw = ctypes.create_string_buffer(stride * copies)
    try:
        _call(f"reading map {info.name}", "bpf_map_lookup_elem", fd.number, key, raw)
    except BpfError as error:
        if error.errno == errno.ENOENT:
            raise KeyError(key) from None
        raise
    return [raw.raw[i * stride : i * stride + info.value_size] for i in range(copies)]


def update(fd: Fd, key: bytes, value: bytes) -> None:
    _call("writing a map", "bpf_map_update_elem", fd.number, key, value, _ANY)


def clear_per_cpu(fd: Fd, key: bytes) -> None:
    info = map_info(fd)
    stride = (info.value_size + 7) // 8 * 8
    update(fd, key, bytes(stride * possible_cpus()))


def keys(fd: Fd) -> Iterator[bytes]:
    key = None
    following = ctypes.create_string_buffer(map_info(fd).key_size)
    while True:
        try:
            _call("listing a map", "bpf_map_get_next_key", fd.number, key, following)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        key = following.raw
        yield key


def create_link(program: Fd, ifindex: int, attach_type: int, flags: int = 0) -> Fd:
    options = _LinkCreateOpts(size=ctypes.sizeof(_LinkCreateOpts), flags=flags)
    doing = f"attaching to interface {ifindex}"
    return Fd(_call(doing, "bpf_link_create", program.number, ifindex, attach_type, byref(options)))


def update_link(link: Fd, program: Fd) -> None:
    _call("replacing a program", "bpf_link_update", link.number, program.number, None)


def detach_link(link: Fd) -> None:
    _call("detaching a program", "bpf_link_detach", link.number)


def attach_tracepoint(program: Fd) -> Fd:
    """A link for a `tp_btf` program, which names its tracepoint itself."""
    return Fd(_call("attaching to a tracepoint", "bpf_raw_tracepoint_open", None, program.number))


def xdp_refusal(program: Fd, ifindex: int) -> str:
    """Asks once more over netlink why a driver refuses native XDP; empty when it gave no words."""
    try:
        _call("attaching XDP", "bpf_xdp_attach", ifindex, program.number, XDP_NATIVE | _XDP_IF_NOEXIST, None)
    except BpfError as error:
        marker = "Kernel error message: "
        said = [line.partition(marker)[2] for line in error.log.splitlines() if marker in line]
        return said[0] if said else ""
    _call("detaching XDP", "bpf_xdp_attach", ifindex, -1, XDP_NATIVE, None)
    return ""


def xdp_program_id(ifindex: int) -> int:
    """Id of the XDP program on a NIC, whoever put it there; 0 for none."""
    program = c_uint32()
    _call(f"asking for XDP on interface {ifindex}", "bpf_xdp_query_id", ifindex, 0, byref(program))
    return program.value


def test_run(
    program: Fd, data: bytes, *, repeat: int = 1, flags: int = 0, batch: int = 0, context: bytes = b""
) -> tuple[int, bytes, bytes]:
    """BPF_PROG_TEST_RUN: (the program's verdict, the packet after it, the context after it)."""
    live = bool(flags & LIVE_FRAMES)
    source = ctypes.create_string_buffer(data, len(data))
    out = ctypes.create_string_buffer(16384)
    context_in = ctypes.create_string_buffer(context, max(len(context), 1))
    context_out = ctypes.create_string_buffer(max(len(context), 1))
    options = _TestRunOpts(
        size=ctypes.sizeof(_TestRunOpts),
        data_in=ctypes.addressof(source),
        data_size_in=len(data),
        data_out=None if live else ctypes.addressof(out),
        data_size_out=0 if live else len(out),
        ctx_in=ctypes.addressof(context_in) if context else None,
        ctx_size_in=len(context),
        ctx_out=ctypes.addressof(context_out) if context and not live else None,
        ctx_size_out=len(context) if not live else 0,
        repeat=repeat,
        flags=flags,
        batch_size=batch,
    )
    _call("running a program", "bpf_prog_test_run_opts", program.number, byref(options))
    return options.retval, out.raw[: options.data_size_out], context_out.raw[: len(context)]
