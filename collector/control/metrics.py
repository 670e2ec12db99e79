"""The Prometheus exposition, read from the kernel at the moment of the scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pyroute2 import IPRoute

from collector.control.notes import instance_folder, read_notes
from collector.control.status import SourceStatus, Status, TMeterStatus, read_status
from collector.datapath.nic import NicDrops, read_drops
from collector.version import version


class KernelCollector(Collector):
    """`read`: the figures, injected; an OSError from it is counted, and leaves the families out."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read
        self._errors = 0

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        try:
            figures = self._read()
        except OSError:
            self._errors += 1
        else:
            yield from _families(figures)
        yield _build_info()
        errors = CounterMetricFamily("collector_scrape_errors", "Scrapes that could not read the kernel.")
        errors.add_metric((), self._errors)
        yield errors


class Figures:
    """One reading of everything that is exposed."""

    def __init__(self, status: Status, nic_drops: tuple[NicDrops, ...], digest: str, applied: bool) -> None:
        self.status = status
        self.nic_drops = nic_drops
        self.digest = digest
        self.applied = applied


def exposition(instance: str, netlink: IPRoute) -> bytes:
    registry = CollectorRegistry()
    registry.register(KernelCollector(lambda: read_figures(instance, netlink)))
    return generate_latest(registry)


def read_figures(instance: str, netlink: IPRoute) -> Figures:
    status = read_status(instance, netlink)
    names = {source.interface for source in status.sources}
    ifindexes = {index for name in names for index in netlink.link_lookup(ifname=name)}
    notes = read_notes(instance_folder(instance))
    if notes.neighbour:
        ifindexes.add(notes.neighbour.ifindex)
    return Figures(status, read_drops(netlink, ifindexes), notes.digest, not notes.failed)


def _families(figures: Figures) -> Iterator[Metric]:
    yield from _source_families(figures.status.sources)
    yield _drops(figures.status.sources)
    yield from _tmeter_families(figures.status.t_meters)
    yield _nic_drops(figures.nic_drops)
    applied = GaugeMetricFamily(
        "collector_config_last_apply_success", "Whether the last apply succeeded (1) or was refused (0)."
    )
    applied.add_metric((), figures.applied)
    yield applied
    config = GaugeMetricFamily(
        "collector_config_info", "The configuration that runs; no sample on a blank unit.", labels=("hash",)
    )
    if figures.digest:
        config.add_metric((figures.digest,), 1)
    yield config


def _source_families(sources: tuple[SourceStatus, ...]) -> Iterator[Metric]:
    labels = ("source",)
    frames = CounterMetricFamily("collector_source_frames", "Mirrored frames received.", labels=labels)
    octets = CounterMetricFamily("collector_source_bytes", "Bytes of the mirrored frames.", labels=labels)
    passed = CounterMetricFamily(
        "collector_source_passed_frames",
        "Frames of the source's NIC that were the host's own and were passed to it.",
        labels=labels,
    )
    last = GaugeMetricFamily(
        "collector_source_last_frame_timestamp_seconds",
        "When the last mirrored frame came; no sample before the first.",
        labels=labels,
    )
    now = time.time()
    for source in sources:
        frames.add_metric((source.name,), source.frames)
        octets.add_metric((source.name,), source.bytes)
        passed.add_metric((source.name,), source.passed_frames)
        if source.last_frame_age_seconds is not None:
            last.add_metric((source.name,), now - source.last_frame_age_seconds)
    yield from (frames, octets, passed, last)


def _drops(sources: tuple[SourceStatus, ...]) -> Metric:
    family = CounterMetricFamily(
        "collector_dropped_frames", "Mirrored frames not sent, by reason.", labels=("source", "reason")
    )
    for source in sources:
        for reason, frames in source.drops.items():
            family.add_metric((source.name, reason), frames)
    return family


def _tmeter_families(t_meters: tuple[TMeterStatus, ...]) -> Iterator[Metric]:
    labels = ("tmeter",)
    frames = CounterMetricFamily("collector_tmeter_frames", "Frames sent to the t-meter.", labels=labels)
    octets = CounterMetricFamily("collector_tmeter_bytes", "Bytes of the frames sent.", labels=labels)
    up = GaugeMetricFamily(
        "collector_tmeter_up", "Whether there is a route to it whose next hop answers.", labels=labels
    )
    for t_meter in t_meters:
        frames.add_metric((t_meter.name,), t_meter.frames)
        octets.add_metric((t_meter.name,), t_meter.bytes)
        up.add_metric((t_meter.name,), t_meter.up)
    yield from (frames, octets, up)


def _nic_drops(drops: tuple[NicDrops, ...]) -> Metric:
    family = CounterMetricFamily(
        "collector_nic_dropped_frames",
        "Frames that a NIC lost before the collector saw them or after it sent them, by the kernel's count.",
        labels=("interface", "where"),
    )
    for each in drops:
        family.add_metric((each.interface, each.where), each.frames)
    return family


def _build_info() -> Metric:
    family = GaugeMetricFamily("collector_build_info", "The version that runs.", labels=("version",))
    family.add_metric((version(),), 1)
    return family
