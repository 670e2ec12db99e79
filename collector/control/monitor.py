"""What the agent watches of the t-meter and of itself: probe, ICMP errors, HTTP; and where it says so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from collector.control.choice import Choice
from collector.control.models import Config, Metrics
from collector.control.notes import forget_text, instance_folder
from collector.control.observed import Observed, boottime, write_observed
from collector.control.patherrors import PathErrors
from collector.control.probe import NOTHING, Prober, Target, hint
from collector.datapath import counters
from collector.datapath.settings import Settings
from collector.errors import CollectorError

if TYPE_CHECKING:
    from collector.control.http import Server

RECENT = 30.0  # seconds: a frame younger than that says that frames flow


class Monitor:
    def __init__(self, instance: str, ring: Callable[[], None]) -> None:
        self.instance = instance
        self.folder = instance_folder(instance)
        self.prober = Prober(None, ring)
        self.path_errors = PathErrors(None, ring)
        self.server: Server | None = None
        self.served: Metrics | None = None
        self.listen_error = ""
        self.summary = ""

    def observe(self, choice: Choice, running: Settings | None, name_error: str, waiting: str) -> None:
        config = choice.file.config
        self._serve(config.metrics)
        self._aim(config, running)
        result, errors = self.prober.result, self.path_errors.seen
        words, probes = "", [each.probe for each in config.t_meters if each.probe != NOTHING]
        if running and (result.up is not None or not probes):
            words = hint(
                result, frames_flow=_frames_flow(self.folder, running), errors=errors,
                now=time.monotonic(), address=running.tmeter.address,
            )  # fmt: skip
        self.summary = words or (_sources(running) if running else "not configured")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_observed(
            self.folder,
            Observed(
                pid=os.getpid(),
                seen=boottime(),
                waiting=(waiting,) if waiting else (),
                file_error=choice.file_error,
                name_error=name_error,
                listen_error=self.listen_error or (self.server.problem if self.server else ""),
                listening=_listening(self.server),
                up=result.up,
                probe=result.words,
                round_trip_seconds=result.round_trip_seconds,
                complaints=tuple((each.kind, each.count, each.words) for each in errors.values()),
                hint=words,
            ),
        )

    def _serve(self, wanted: Metrics) -> None:
        """An address that is not there yet is tried again at the next look."""
        if wanted != self.served and self.server:
            self.server.stop()
            self.server = None
        if self.server is None:
            self.server = _server(wanted, self.instance)
            self.served = wanted
        try:
            self.server.start()
            self.listen_error = ""
        except CollectorError as error:
            self.listen_error = str(error)

    def _aim(self, config: Config, running: Settings | None) -> None:
        if running is None or not config.t_meters:
            self.prober.set_target(None)
            self.path_errors.set_target(None)
            return
        self.prober.set_target(Target(running.tmeter.address, config.t_meters[0].probe))
        self.path_errors.set_target(running.tmeter)

    def stop(self) -> None:
        """The counters and what was applied stay; only what the agent itself said goes."""
        self.prober.stop()
        self.path_errors.stop()
        if self.server:
            self.server.stop()
        if self.folder.exists():
            forget_text(self.folder, "agent")
            if not any(self.folder.iterdir()):
                self.folder.rmdir()


def _server(wanted: Metrics, instance: str) -> Server:
    # Read only now: frames flow before anybody can ask how they do.
    from collector.control import pages
    from collector.control.http import Server

    web = Path(wanted.web_config) if wanted.web_config else None
    return Server(wanted.endpoints, pages.of(instance), web, pages.PUBLIC)


def _frames_flow(folder: Path, running: Settings) -> bool:
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    last = [counters.read_source(folder, each.slot).last_frame for each in running.sources]
    return any(each is not None and now - each < RECENT for each in last)


def _sources(running: Settings) -> str:
    names = ", ".join(source.name for source in running.sources) or "no source yet"
    return f"forwarding {names} to {running.tmeter.name} ({running.tmeter.address})"


def _listening(server: Server | None) -> tuple[str, ...]:
    ends = server.listening if server else ()
    return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in ends)
