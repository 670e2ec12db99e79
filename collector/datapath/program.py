"""The eBPF program: its object, and what is pinned of it.

One object serves all sources of an instance. Everything that it needs is pinned in one folder of
bpffs, and that folder is the only record of what runs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from collector.datapath import libbpf, maps
from collector.datapath.libbpf import Fd
from collector.datapath.ports import encode_ports
from collector.datapath.settings import Settings, decode

OBJECT = Path(__file__).parent / "bpf" / "collector.bpf.o"
BPFFS = Path("/sys/fs/bpf")
BTF = Path("/sys/kernel/btf/vmlinux")

LOSS_PROGRAMS = ("collector_xmit", "collector_refused", "collector_freed")
PROGRAMS = ("collector_xdp", "collector_pass", "collector_tc", *LOSS_PROGRAMS)
KEPT_MAPS = ("source_counters", "tmeter_counters", "flow_ways")


def build() -> str:
    """Tells one build of the program from another."""
    return hashlib.sha256(OBJECT.read_bytes()).hexdigest()[:12]


def load(settings: Settings, folder: Path) -> libbpf.Object:
    """Puts the program into the kernel, attached to nothing; counters pinned in `folder` go on."""
    program = libbpf.Object(OBJECT)
    program.set_constants(".rodata.cfg", settings.encode(libbpf.possible_cpus()))
    program.set_constants(".rodata.ports", encode_ports(settings.telephony))
    program.set_max_entries("scratch", libbpf.possible_cpus())
    for name in KEPT_MAPS:
        kept = libbpf.pinned(folder / name)
        if kept:
            program.reuse_map(name, kept)
    if not BTF.exists():
        for name in LOSS_PROGRAMS:
            program.leave_out(name)
    program.load()
    for name, entries in (("senders", settings.sender_entries()), ("vni_rules", settings.vni_entries())):
        fd = program.map(name)
        for key, value in entries.items():
            maps.update(fd, key, value)
    return program


def load_bystander() -> Fd:
    """The XDP program that passes every frame, by itself."""
    program = libbpf.Object(OBJECT)
    for name in PROGRAMS:
        if name != "collector_pass":
            program.leave_out(name)
    program.load()
    return program.program("collector_pass")


_remembered: dict[int, Settings] = {}  # of the program that was asked for last, by its id


def remembered_settings(program: Fd) -> Settings:
    """As `read_settings`, but each program is read once: who loads it fills its tables, and nobody after."""
    number = libbpf.program_info(program).id
    found = _remembered.get(number)
    if found is None:
        found = read_settings(program)
        _remembered.clear()
        _remembered[number] = found
    return found


def read_settings(program: Fd) -> Settings:
    """The configuration that an attached program was loaded with, out of its own maps."""
    found: dict[str, Fd] = {}
    for map_id in libbpf.program_info(program).map_ids:
        fd = maps.by_id(map_id)
        found[maps.info_of(fd).name] = fd
    raw, ports = (maps.lookup(found[name], bytes(4))[0] for name in (".rodata.cfg", ".rodata.ports"))
    tables = [
        [(key, maps.lookup(found[name], key)[0]) for key in maps.keys(found[name])]
        for name in ("senders", "vni_rules")
    ]
    return decode(raw, ports, *tables)
