"""One plan carried out: every step is undone again when a later one fails."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial, singledispatchmethod
from pathlib import Path

from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.control import changes as change
from collector.control.changes import Change
from collector.control.config import ConfigFile
from collector.control.host import Host, read_host, tune
from collector.control.notes import (
    Refusal,
    instance_folder,
    read_notes,
    read_text,
    remove_folder,
    write_notes,
    write_text,
)
from collector.control.plan import Plan, plan
from collector.control.state import AT_SPLITTER, Place
from collector.datapath import attach, counters, libbpf, nic, program, splitter, tmeter
from collector.datapath.attach import Hook, XdpRefusedError
from collector.datapath.libbpf import BpfError, Fd
from collector.errors import HostError

NO_REDIRECTED = "it takes no redirected frames"
_LAST = change.DropSplitter
_PUT_BACK = "What was there before is in place again."
_REST_REMOVED = "The rest is removed. Run it again: collector remove"


class EgressRefusedError(XdpRefusedError):
    """The NIC towards the t-meter has XDP, but takes nothing that XDP redirects to it."""


class Transaction:
    def __init__(self, wanted: Plan, host: Host, file: ConfigFile, instance: str, netlink: IPRoute) -> None:
        self.plan = wanted
        self.host = host
        self.file = file
        self.instance = instance
        self.netlink = netlink
        self.t_meter = None if host.route is tmeter.NO_ROUTE else host.route.address
        self.folder = instance_folder(instance)
        self.splitter = host.splitter
        self.object: libbpf.Object | None = None
        self.refusals: list[Refusal] = []
        self.undo = ExitStack()
        self.left: list[str] = []  # what could not be undone

    def run(self) -> None:
        try:
            self._run()
        except HostError as error:
            if not self.left:
                raise
            raise HostError(error.what, f"Not everything is as before: {'; '.join(self.left)}") from error
        self._finish()

    def _run(self) -> None:
        with self.undo:
            if self.plan.changes:
                with explained("record what was there before"):
                    self._prepare()
                for each in self.plan.changes:
                    if not isinstance(each, _LAST):
                        with explained(each.describe()):
                            self._carry_out(each)
            if self.plan.wanted.settings:
                with explained("record what runs now"):
                    self._settle()
            if self.plan.changes:
                self._verify()
            self.undo.pop_all()

    def _undo_by(self, step: Callable[..., object], *arguments: object, **named: object) -> None:
        self.undo.callback(self._undo, step, *arguments, **named)

    def _undo(self, step: Callable[..., object], *arguments: object, **named: object) -> None:
        """What cannot be undone is said, and does not keep the rest from being undone."""
        try:
            step(*arguments, **named)
        except (HostError, BpfError, NetlinkError, OSError) as error:
            self.left.append(str(error))

    def _finish(self) -> None:
        """What cannot be undone comes last, when all else is known to be right."""
        for each in self.plan.changes:
            if isinstance(each, _LAST):
                with explained(each.describe(), _REST_REMOVED):
                    self._carry_out(each)
        if not self.plan.wanted.settings:
            with explained(f"remove {self.folder}", _REST_REMOVED):
                remove_folder(self.folder, self.host.netns)

    def _prepare(self) -> None:
        """The origins are on record before anything is changed, so that `remove` knows them always."""
        if not self.folder.exists():
            self._undo_by(remove_folder, self.folder)
            self.folder.mkdir(parents=True)
        for unfinished in self.folder.glob(f"*{libbpf.UNFINISHED}"):  # of an apply that was killed
            unfinished.unlink()
        notes, tunings = self.host.notes, self.plan.wanted.tunings
        fresh = {key: self.host.tunings[key] for key in tunings if key not in notes.origins}
        if self.folder.joinpath("notes").exists():
            self._undo_by(write_notes, self.folder, notes)
        write_notes(
            self.folder,
            replace(
                notes,
                netns=self.host.netns,
                origins={**notes.origins, **fresh},
                neighbour=self.plan.wanted.neighbour or notes.neighbour,
            ),
        )

    @singledispatchmethod
    def _carry_out(self, each: Change) -> None:
        raise NotImplementedError(each)

    @_carry_out.register
    def _tune(self, each: change.Tune) -> None:
        if self.host.nic(each.tuning.ifindex) or each.interface == "lo":
            self._undo_by(tune, self.netlink, each.interface, each.tuning, each.old)
            tune(self.netlink, each.interface, each.tuning, each.new)

    @_carry_out.register
    def _keep_neighbour(self, each: change.KeepNeighbour) -> None:
        self._undo_by(tmeter.forget_neighbour, self.netlink, each.neighbour)
        tmeter.keep_neighbour(self.netlink, each.neighbour)

    @_carry_out.register
    def _forget_neighbour(self, each: change.ForgetNeighbour) -> None:
        self._undo_by(tmeter.keep_neighbour, self.netlink, each.neighbour)
        tmeter.forget_neighbour(self.netlink, each.neighbour)

    @_carry_out.register
    def _drop_splitter(self, _each: change.DropSplitter) -> None:
        splitter.remove(self.netlink)

    @_carry_out.register
    def _make_splitter(self, _each: change.MakeSplitter) -> None:
        if self.splitter:
            splitter.start(self.netlink, self.splitter)
            return
        self._undo_by(splitter.remove, self.netlink)
        self.splitter = splitter.create(self.netlink)

    @_carry_out.register
    def _load(self, each: change.Load) -> None:
        self.object = program.load(replace(each.settings, splitter=self._pair), self.folder)
        for name in program.KEPT_MAPS:
            if not (self.folder / name).exists():
                self._undo_by((self.folder / name).unlink, missing_ok=True)
                libbpf.pin(self.object.map(name), self.folder / name)
        former = {(known.slot, known.name) for known in self.host.notes.sources}
        former |= {(source.slot, source.name) for source in each.former.sources} if each.former else set()
        for source in each.settings.sources:
            if (source.slot, source.name) not in former:
                counters.reset_source(self.folder, source.slot)
        self._ask_drivers()

    def _ask_drivers(self) -> None:
        for ifindex in self.plan.to_ask:
            words = attach.xdp_refusal(self._loaded.program(attach.BYSTANDER), ifindex)
            here = self.host.nic(ifindex)
            if words and here:
                self.refusals.append(Refusal(ifindex, "source", here.mtu, words))

    @_carry_out.register
    def _watch_losses(self, _each: change.WatchLosses) -> None:
        for name in program.LOSS_PROGRAMS:
            self._repin_by_undo(name)
        attach.watch_losses(self._loaded, self.folder)

    @_carry_out.register
    def _attach(self, each: change.Attach) -> None:
        where = (self._ifindex(each.place), each.place.hook, self.folder, self.netlink)
        attach.attach(self._loaded.program(each.program), *where)
        self._undo_by(attach.detach, *where)
        self._after_attaching(each.place)

    @_carry_out.register
    def _replace(self, each: change.Replace) -> None:
        where = (self._ifindex(each.place), each.place.hook, self.folder, self.netlink)
        former = attach.replace(self._loaded.program(each.program), *where)
        self._undo_by(attach.replace, former, *where)
        self._after_attaching(each.place)

    @_carry_out.register
    def _detach(self, each: change.Detach) -> None:
        where = (self._ifindex(each.place), each.place.hook, self.folder, self.netlink)
        former = attach.attached_program(*where[:3])
        if former:
            self._undo_by(_restore, former, *where)
        attach.detach(*where)

    def _after_attaching(self, place: Place) -> None:
        if place.ifindex == AT_SPLITTER:
            splitter.start(self.netlink, self._pair)
        if place.hook is Hook.XDP_NATIVE and place.ifindex == self.host.route.ifindex:
            features = nic.xdp_features()
            if features is not None and not features.get(place.ifindex, 0) & nic.XDP_NDO_XMIT:
                raise EgressRefusedError(place.ifindex, NO_REDIRECTED)

    @property
    def _loaded(self) -> libbpf.Object:
        if self.object is None:
            raise RuntimeError("the plan attaches before it loads")
        return self.object

    def _ifindex(self, place: Place) -> int:
        return self._pair.rx if place.ifindex == AT_SPLITTER else place.ifindex

    @property
    def _pair(self) -> splitter.Splitter:
        if self.splitter is None:
            raise RuntimeError("the plan needs the splitter before it makes it")
        return self.splitter

    def _verify(self) -> None:
        host = read_host(self.netlink, self.instance, self.t_meter)
        left = [each for each in plan(self.file.config, host).changes if not isinstance(each, _LAST)]
        if left:
            words = "; ".join(each.describe() for each in left)
            raise HostError(f"the kernel took the changes, but this is still to do: {words}")

    def _settle(self) -> None:
        """What is now on record: only what a later `remove` has to put back."""
        wanted, notes = self.plan.wanted, read_notes(self.folder)
        settled = replace(
            notes,
            digest=wanted.digest,
            build=wanted.build,
            sources=wanted.sources,
            origins={key: value for key, value in notes.origins.items() if key in wanted.tunings},
            tuned=wanted.tunings,
            neighbour=wanted.neighbour,
            refusals=(*notes.refusals, *self.refusals),
            failed=False,
            applies=notes.applies + bool(self.plan.changes),
            unconfirmed="",
        )
        if settled != notes:
            write_notes(self.folder, settled)
        if read_text(self.folder, "configuration") != self.file.document.text:
            self._repin_by_undo("configuration")
            write_text(self.folder, "configuration", self.file.document.text)

    def _repin_by_undo(self, name: str) -> None:
        path = self.folder / name
        former = libbpf.pinned(path)
        self._undo_by(partial(libbpf.pin, former, path) if former else partial(path.unlink, missing_ok=True))


@contextmanager
def explained(what: str, hint: str = _PUT_BACK) -> Iterator[None]:
    try:
        yield
    except (BpfError, NetlinkError, OSError) as error:
        said = str(error) if isinstance(error, BpfError) else _reason(error)
        raise HostError(f"could not {what}: {said}", hint) from error


def _restore(former: Fd, ifindex: int, hook: Hook, folder: Path, netlink: IPRoute) -> None:
    try:
        attach.restore(former, ifindex, hook, folder, netlink)
    except XdpRefusedError as refusal:  # it was taken before: this is no word about the driver
        raise HostError(f"could not attach to interface {ifindex} again: {refusal.words}") from refusal


def _reason(error: NetlinkError | OSError) -> str:
    if isinstance(error, NetlinkError):
        return str(error.args[1] if len(error.args) > 1 else error)
    return error.strerror or errno.errorcode.get(error.errno or 0, "unknown error")
