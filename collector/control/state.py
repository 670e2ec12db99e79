"""What runs: read back from the kernel, in the same words in which a plan says what should run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pyroute2.iproute import IPRoute

from collector.control.notes import Known, Notes, Tuning
from collector.datapath import attach, maps, program
from collector.datapath.attach import Hook
from collector.datapath.libbpf import Fd
from collector.datapath.nic import Nic
from collector.datapath.settings import Settings
from collector.datapath.splitter import Splitter
from collector.datapath.tmeter import Neighbour
from collector.errors import HostError

AT_SPLITTER = -1  # stands for the splitter's ifindex, which only the kernel knows


@dataclass(frozen=True, order=True)
class Place:
    ifindex: int
    hook: Hook


@dataclass(frozen=True)
class State:
    settings: Settings | None = None  # the splitter's ifindexes left out
    programs: Mapping[Place, str] = field(default_factory=dict)
    tunings: Mapping[Tuning, str] = field(default_factory=dict)
    neighbour: Neighbour | None = None
    losses: bool = False  # the tracepoints that count what the egress NIC did not take
    splitter: bool = False  # there, up, and known to the program
    counters: bool = False  # pinned
    digest: str = ""  # of the configuration file
    sources: tuple[Known, ...] = ()
    build: str = ""  # of the program: an upgraded package replaces it
    own_programs: frozenset[int] = frozenset()  # ids
    lost: frozenset[Place] = frozenset()  # pinned, but no frame passes there any more


def read_state(
    folder: Path,
    notes: Notes,
    *,
    netns: int,
    nics: tuple[Nic, ...],
    splitter: Splitter | None,
    tunings: Mapping[Tuning, str],
    kept: frozenset[Neighbour],
    netlink: IPRoute,
    read_settings: Callable[[Fd], Settings] = program.read_settings,
) -> State:
    if not folder.exists():
        return State(splitter=splitter is not None and splitter.up)
    if notes.netns not in (0, netns):
        raise HostError(
            f"instance {folder.name} runs in another network namespace",
            "Choose another name with --instance, or enter that namespace first. If it is gone, remove "
            f"what is left: rm -r {folder}",
        )
    attached = attach.find(folder, netlink)
    settings = _common_settings(attached, read_settings)
    known = splitter is not None and splitter.up and (settings is None or settings.splitter == splitter)
    return State(
        settings=replace(settings, splitter=Splitter(0, 0)) if settings else None,
        programs={_place(each, nics, splitter): each.info.name for each in attached},
        tunings={key: tunings[key] for key in notes.origins if key in tunings},
        neighbour=notes.neighbour if notes.neighbour in kept else None,
        losses=all((folder / name).exists() for name in program.LOSS_PROGRAMS),
        splitter=known,
        counters=all((folder / name).exists() for name in program.KEPT_MAPS),
        digest=notes.digest,
        sources=notes.sources,
        build=notes.build,
        own_programs=attach.program_ids(folder),
        lost=frozenset(
            Place(ifindex, Hook.XDP_NATIVE if is_xdp else Hook.TC)
            for ifindex, is_xdp in attach.pins(folder) - {(each.ifindex, each.is_xdp) for each in attached}
        ),
    )


def _place(attached: attach.Attached, nics: tuple[Nic, ...], splitter: Splitter | None) -> Place:
    if splitter and attached.ifindex == splitter.rx:
        return Place(AT_SPLITTER, Hook.TC)
    if not attached.is_xdp:
        return Place(attached.ifindex, Hook.TC)
    mode = next((nic.xdp_mode for nic in nics if nic.ifindex == attached.ifindex), None)
    return Place(attached.ifindex, Hook(mode or Hook.XDP_NATIVE))


def _common_settings(
    attached: list[attach.Attached], read_settings: Callable[[Fd], Settings]
) -> Settings | None:
    """None where programs of two generations are attached, as after an apply that was killed."""
    forwarding = [each for each in attached if each.info.name != attach.BYSTANDER]
    shared = [set(each.info.map_ids) for each in forwarding]
    if not shared:
        return None
    if len({frozenset(_constants(ids)) for ids in shared}) > 1:
        return None
    return read_settings(forwarding[0].program)


def _constants(map_ids: set[int]) -> set[int]:
    return {i for i in map_ids if maps.info_of(maps.by_id(i)).name == ".rodata.cfg"}
