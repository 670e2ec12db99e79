"""The Prometheus exposition, read from the kernel at the moment of the scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from prometheus_client import PROCESS_COLLECTOR, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.control.clock import read_clock
from collector.control.fallback import read_fallback
from collector.control.families import Figures, build_info, families
from collector.control.host import Host, read_host
from collector.control.lock import unchanged
from collector.control.notes import instance_folder
from collector.control.observed import read_observed
from collector.control.status import Status, status_of
from collector.datapath.libbpf import BpfError
from collector.datapath.nic import Nic
from collector.datapath.nicstats import allowances
from collector.errors import CollectorError


class KernelCollector(Collector):
    """`read`: the figures, injected; an error from it is counted, and leaves the families out."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read
        self._errors = 0

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        try:
            figures = self._read()
        except (OSError, NetlinkError, BpfError, CollectorError):
            self._errors += 1
        else:
            yield from families(figures)
        yield build_info()
        errors = CounterMetricFamily("collector_scrape_errors", "Scrapes that could not read the kernel.")
        errors.add_metric((), self._errors)
        yield errors


class Exposition:
    """`connect` gives a netlink socket for one scrape; `process`: with the figures of this process."""

    def __init__(
        self, instance: str, connect: Callable[[], AbstractContextManager[IPRoute]], *, process: bool
    ) -> None:
        self._instance = instance
        self._connect = connect
        self._registry = CollectorRegistry()
        self._registry.register(KernelCollector(self._read))
        if process:
            self._registry.register(PROCESS_COLLECTOR)

    def page(self) -> bytes:
        return generate_latest(self._registry)

    def _read(self) -> Figures:
        with self._connect() as netlink:
            return read_figures(self._instance, netlink)


def read_figures(instance: str, netlink: IPRoute) -> Figures:
    with unchanged():
        host = read_host(netlink, instance, None, brief=True)
    # Both clocks at one moment, or every age would be off by as long as it takes to read.
    now, monotonic = time.time(), time.clock_gettime(time.CLOCK_MONOTONIC)
    status = status_of(host, instance, netlink, monotonic)
    used = tuple(_used(status, host))
    return Figures(
        now=now,
        status=status,
        notes=host.notes,
        observed=read_observed(instance_folder(instance)),
        nic_drops={each.name: each.drops for each in used},
        allowances={each.name: allowances(each.name) for each in used},
        clock=read_clock(),
        fallback=read_fallback(),
    )


def _used(status: Status, host: Host) -> Iterator[Nic]:
    """The NICs of the sources, and the one towards the t-meter."""
    wanted = {source.interface for source in status.sources}
    egress = host.notes.neighbour.ifindex if host.notes.neighbour else 0
    return (each for each in host.nics if each.name in wanted or each.ifindex == egress)
