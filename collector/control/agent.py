"""The agent: applies the file, then follows what happens to this host, and tells how it goes.

The kernel forwards without it. Stopping it, or killing it, stops no frame.
"""

from __future__ import annotations

import gc
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.control.apply import note_failure
from collector.control.choice import Choice
from collector.control.confirm import seconds_left, take_back
from collector.control.follow import Eyes, Look
from collector.control.host import read_host
from collector.control.journal import Journal, set_up
from collector.control.lastgood import LastGood
from collector.control.lock import BusyError, alone
from collector.control.monitor import Monitor
from collector.control.names import Resolver
from collector.control.needs import NeedsFile, needs_of
from collector.control.notes import instance_folder, read_notes
from collector.control.notify import ALIVE, READY, STOPPING, Systemd
from collector.control.presence import Presence
from collector.control.refused import refused
from collector.control.state import State
from collector.control.status import read_status
from collector.control.watch import Doorbell
from collector.datapath import splitter
from collector.datapath.libbpf import BpfError
from collector.datapath.settings import Address, Settings
from collector.errors import CollectorError

AUDIT = 30.0  # seconds between two looks without an event: some things happen without one
CALM = 0.2  # seconds between two looks at least: events come in swarms
PATIENCE = 1.0  # seconds, while a command is at work
RETRY = 2.0  # seconds, when the kernel refused; doubled each time
LONGEST_RETRY = 60.0

log = logging.getLogger("collector")


class Agent:
    def __init__(self, path: Path, instance: str) -> None:
        self.instance = instance
        self.folder = instance_folder(instance)
        self.presence = Presence(instance)
        self.choice = Choice(path, self.folder, LastGood(instance))
        self.systemd = Systemd()
        self.journal = Journal()
        self.needs = NeedsFile()
        self.doorbell = Doorbell()
        self.bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.resolver = Resolver(self.ring)
        self.monitor = Monitor(instance, self.ring)
        self.settled: State | None = None
        self.running: Settings | None = None
        self.retry = RETRY
        self.due = 0.0  # time.monotonic() of the next look

    def ring(self) -> None:
        """From any thread: look soon."""
        os.eventfd_write(self.bell, 1)

    def run(self) -> None:
        with _signals() as (reader, caught), selectors.DefaultSelector() as selector:
            for each in (reader, self.doorbell, self.bell, self.presence):
                selector.register(each, selectors.EVENT_READ)
            self._read_file()
            self._look()
            gc.freeze()
            self.systemd.say(READY)
            while self._obey(reader, caught):
                if time.monotonic() >= self.due:
                    self._look()
                self._wait(selector)
        self.systemd.say(STOPPING)
        self.monitor.stop()
        log.info("the agent stops; frames flow on without it")

    def _wait(self, selector: selectors.BaseSelector) -> None:
        patience = max(0.0, self.due - time.monotonic())
        ready = selector.select(min(patience, self.systemd.watchdog or patience))
        self.systemd.say(ALIVE)
        rung = {key.fileobj for key, _ in ready}
        if self.bell in rung:
            os.eventfd_read(self.bell)
            self._soon()
        if self.presence in rung and self.presence.called():
            self._soon()
        if self.doorbell in rung and self.doorbell.rang(self._next_hop()):
            self.resolver.look_again()
            self._soon()

    def _next_hop(self) -> Address | None:
        neighbour = self.settled.neighbour if self.settled else None
        return neighbour.address if neighbour else None

    def _soon(self) -> None:
        self.due = min(self.due, time.monotonic() + CALM)

    def _obey(self, reader: socket.socket, caught: set[int]) -> bool:
        """Whether to go on."""
        with suppress(BlockingIOError):
            reader.recv(64)
        if caught & {signal.SIGTERM, signal.SIGINT}:
            return False
        if signal.SIGHUP in caught:
            caught.clear()
            self.systemd.reloading()
            self._read_file()
            self._look()
            self.systemd.say(READY)
        return True

    def _read_file(self) -> None:
        self.choice.read()
        if self.choice.file_error:
            log.error("%s", self.choice.file_error)
        if self.choice.is_from_before:
            log.warning("what was applied before this machine restarted is used instead")
        self.settled = None

    def _look(self) -> None:
        with IPRoute(ext_ack=True) as netlink:  # a new one each time: they grow with all that they hear
            self._look_by(netlink)
        gc.collect()  # cheap, as what stays is frozen; left to itself, it lets megabytes gather

    def _look_by(self, netlink: IPRoute) -> None:
        self.due = time.monotonic() + AUDIT
        try:
            self._take_back_when_due(netlink)
            with alone(PATIENCE):
                done = self._follow(netlink)
        except BusyError:
            self.due = time.monotonic() + CALM
        except CollectorError as error:
            note_failure(self.instance)
            self._later(str(error), netlink)
        except (BpfError, NetlinkError, OSError) as error:  # something went while it was looked at
            self._later(f"could not read this host's state: {error}", netlink)
        else:
            self.journal.changes(done)
            self.settled, self.running, self.retry = done.settled or self.settled, done.running, RETRY
            self._observe(done.waiting, netlink)

    def _follow(self, netlink: IPRoute) -> Look:
        """What was removed by hand took the splitter away as well."""
        news = self.choice.refresh(wiped=splitter.is_there())
        if news:
            log.info("%s", news)
        wanted = self.choice.file.config.t_meter_address
        self.resolver.follow(wanted if isinstance(wanted, str) else None)
        eyes = Eyes(self.instance, netlink, self.resolver.address)
        done = eyes.look(self.choice.file, self.choice.runs, self.settled)
        self.choice.settle()
        self.choice.keep()
        return done

    def _take_back_when_due(self, netlink: IPRoute) -> None:
        if not read_notes(self.folder).pending:
            return
        with alone(PATIENCE):  # so no apply is at work
            pending = read_notes(self.folder).pending
        if pending and pending.complete and seconds_left(pending):
            self.due = min(self.due, time.monotonic() + max(CALM, seconds_left(pending)))
        elif pending:
            why = "was not confirmed in time" if pending.complete else "was killed before its end"
            log.warning("the last apply %s: back to the configuration before it", why)
            take_back(self.instance, pending.token, netlink, PATIENCE)

    def _later(self, trouble: str, netlink: IPRoute) -> None:
        self.due = min(self.due, time.monotonic() + self.retry)
        self.retry = min(2 * self.retry, LONGEST_RETRY)
        self._observe(trouble, netlink)

    def _observe(self, waiting: str, netlink: IPRoute) -> None:
        try:
            self.monitor.observe(self.choice, self.running, self.resolver.trouble, waiting)
            self.systemd.status(waiting.partition("\n")[0] or self.monitor.summary)
            status = read_status(self.instance, netlink)
            self.journal.state(status, refused(), self.needs.write(needs_of(self.choice, status)))
        except (CollectorError, BpfError, NetlinkError, OSError) as error:
            self.journal.trouble(waiting or f"could not read this host's state: {error}")


def run(path: Path, instance: str, netlink: IPRoute) -> None:
    """Until SIGTERM. HostError where the instance runs in another network namespace, or has an agent."""
    read_host(netlink, instance, None)
    set_up()
    Agent(path, instance).run()


@contextmanager
def _signals() -> Iterator[tuple[socket.socket, set[int]]]:
    """A socket that is readable once one was caught, and those caught."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    caught: set[int] = set()
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    former = {number: signal.signal(number, lambda got, _frame: caught.add(got)) for number in wanted}
    wakeup = signal.set_wakeup_fd(writer.fileno())
    try:
        with reader, writer:
            yield reader, caught
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in former.items():
            signal.signal(number, handler)
