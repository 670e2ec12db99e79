"""The Prometheus exposition, read from the kernel at the moment of the scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from prometheus_client import PROCESS_COLLECTOR, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.control.clock import read_clock
from collector.control.families import Figures, build_info, families
from collector.control.notes import instance_folder, read_notes
from collector.control.observed import read_observed
from collector.control.status import Status, read_status
from collector.datapath.libbpf import BpfError
from collector.datapath.nic import read_drops
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
    status, folder = read_status(instance, netlink), instance_folder(instance)
    notes = read_notes(folder)
    names = _interfaces(status, netlink, notes.neighbour.ifindex if notes.neighbour else 0)
    return Figures(
        status=status,
        notes=notes,
        observed=read_observed(folder),
        nic_drops=read_drops(netlink, set(names)),
        allowances={name: allowances(name) for name in names.values()},
        clock=read_clock(),
    )


def _interfaces(status: Status, netlink: IPRoute, egress: int) -> dict[int, str]:
    """Of the sources, and towards the t-meter."""
    wanted = {source.interface for source in status.sources}
    links = {int(link["index"]): str(link.get_attr("IFLA_IFNAME")) for link in netlink.get_links()}
    return {index: name for index, name in links.items() if name in wanted or index == egress}
