"""One look of the agent at the world, and what it does about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pyroute2.iproute import IPRoute

from collector.control.apply import converge, require_only_one
from collector.control.changes import Change
from collector.control.check import check
from collector.control.config import Config, ConfigFile, digest
from collector.control.host import Host, read_host
from collector.control.notes import change_notes, instance_folder, read_notes
from collector.control.plan import plan
from collector.control.state import State
from collector.control.values import Address
from collector.datapath.settings import Settings
from collector.datapath.tmeter import NO_ROUTE, find_route
from collector.errors import CollectorError

Resolve = Callable[[Config, Address | None], Address | None]


@dataclass(frozen=True)
class Look:
    """`waiting`: in words, why what the file wants cannot be done now; what ran before runs on."""

    settled: State | None  # what was to run, and does
    running: Settings | None
    changes: tuple[Change, ...] = ()
    repaired: bool = False  # nothing else had changed: somebody took it away
    waiting: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Eyes:
    instance: str
    netlink: IPRoute
    resolve: Resolve

    def look(self, wanted: ConfigFile, runs: ConfigFile | None, before: State | None) -> Look:
        """`runs`: where that is not `wanted`, it is looked after while `wanted` cannot be had. `before`: as
        it was settled the last time. HostError: the kernel refused."""
        try:
            done = self._follow(wanted, before)
        except CollectorError:
            if runs:
                self._follow(runs, None)
            raise
        if done.waiting and runs:
            return replace(self._follow(runs, before), waiting=done.waiting)
        return done

    def _follow(self, file: ConfigFile, before: State | None) -> Look:
        host = read_host(self.netlink, self.instance, None)
        try:
            require_only_one(self.instance, host.netns)
            host = self._with_route(file, host)
            warnings = check(file, host, wait=True)
        except CollectorError as trouble:
            return Look(None, host.state.settings, waiting=str(trouble))
        wanted = plan(file.config, host)
        known = host.notes.digest == (wanted.wanted.digest if file.config.sources else "")
        if known and not wanted.changes:
            return Look(wanted.wanted, wanted.wanted.settings, warnings=warnings)
        done = converge(file, self.instance, self.netlink, host.route)
        repaired = done.plan.wanted == before
        if repaired:
            folder = instance_folder(self.instance)
            change_notes(folder, repairs=read_notes(folder).repairs + 1)
        now = done.plan.wanted
        return Look(now, now.settings, done.changes, repaired, warnings=warnings)

    def _with_route(self, file: ConfigFile, host: Host) -> Host:
        running = host.state.settings
        same = running is not None and host.notes.digest == digest(file.config)
        address = self.resolve(file.config, running.tmeter.address if running and same else None)
        return replace(host, route=find_route(self.netlink, address) if address else NO_ROUTE)
