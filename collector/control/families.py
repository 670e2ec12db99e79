"""The metrics by name: docs/operations.md says what each one means, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from collector.control.clock import Clock
from collector.control.notes import Notes
from collector.control.observed import Observed
from collector.control.status import SourceStatus, Status, TMeterStatus
from collector.version import version

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True)
class Figures:
    """One reading of everything that is exposed. `now`: time.time() when `status` was read; `nic_drops` and
    `allowances`: by interface, then by name; `fallback`: as read_fallback() says."""

    now: float
    status: Status
    notes: Notes
    observed: Observed | None
    nic_drops: Mapping[str, Mapping[str, int]]
    allowances: Mapping[str, Mapping[str, int]]
    clock: Clock
    fallback: str | None = None


def families(figures: Figures) -> Iterator[Metric]:
    yield from _sources(figures.status.sources)
    yield from _last_seen(figures.status.sources, figures.now)
    yield from _t_meters(figures.status.t_meters)
    yield from _nics(figures)
    yield from _state(figures)
    yield from _clock(figures.clock)
    if figures.fallback is not None:
        yield _gauge(
            "collector_update_fallback",
            "Whether an update failed, and the appliance went back to the version before by itself.",
            (),
            (((), bool(figures.fallback)),),
        )


def _counter(name: str, words: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    family = CounterMetricFamily(name, words, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _gauge(name: str, words: str, labels: tuple[str, ...], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _sources(sources: tuple[SourceStatus, ...]) -> Iterator[Metric]:
    by = ("source",)
    yield _counter(
        "collector_source_frames", "Mirrored frames received.", by, (((s.name,), s.frames) for s in sources)
    )
    yield _counter(
        "collector_source_bytes", "Bytes of the mirrored frames.", by, (((s.name,), s.bytes) for s in sources)
    )
    yield _counter(
        "collector_source_passed_frames",
        "Frames of the source's NIC that were the host's own and were passed to it.",
        by,
        (((s.name,), s.passed_frames) for s in sources),
    )
    yield _counter(
        "collector_dropped_frames",
        "Mirrored frames not sent, by reason.",
        ("source", "reason"),
        (((s.name, reason), frames) for s in sources for reason, frames in s.drops.items()),
    )
    yield _gauge(
        "collector_source_up",
        "Whether its interface is there, attached as configured, and has a link.",
        by,
        (((s.name,), s.up) for s in sources),
    )
    yield _gauge(
        "collector_source_info",
        "How the source is attached.",
        ("source", "type", "interface", "hook"),
        (((s.name, s.type, s.interface, s.hook), 1) for s in sources),
    )


def _last_seen(sources: tuple[SourceStatus, ...], now: float) -> Iterator[Metric]:
    ages = (
        ("frame", "mirrored frame", [s.last_frame_age_seconds for s in sources]),
        ("sip", "SIP message", [s.last_sip_age_seconds for s in sources]),
        ("rtp", "RTP packet", [s.last_rtp_age_seconds for s in sources]),
    )
    for kind, words, found in ages:
        yield _gauge(
            f"collector_source_last_{kind}_timestamp_seconds",
            f"When the last {words} came; no sample before the first.",
            ("source",),
            (
                ((s.name,), now - age)
                for s, age in zip(sources, found, strict=True)
                if age is not None
            ),
        )  # fmt: skip


def _t_meters(t_meters: tuple[TMeterStatus, ...]) -> Iterator[Metric]:
    by = ("tmeter",)
    yield _counter(
        "collector_tmeter_frames",
        "Frames sent to the t-meter.",
        by,
        (((t.name,), t.frames) for t in t_meters),
    )
    yield _counter(
        "collector_tmeter_bytes", "Bytes of the frames sent.", by, (((t.name,), t.bytes) for t in t_meters)
    )
    yield _counter(
        "collector_tmeter_oversize_frames",
        "Frames too large for the path: sent in fragments or cut, or else dropped.",
        by,
        (((t.name,), t.oversize_frames) for t in t_meters),
    )
    yield _gauge(
        "collector_tmeter_up",
        "Whether there is a route to it, its next hop answers, and so does the probe.",
        by,
        (((t.name,), t.up) for t in t_meters),
    )
    yield _gauge(
        "collector_tmeter_path_mtu_bytes",
        "The largest outer packet that the way to it takes, by this host's routes.",
        by,
        (((t.name,), t.path_mtu) for t in t_meters),
    )
    yield _gauge(
        "collector_tmeter_probe_round_trip_seconds",
        "How long the last answer to the probe took; no sample without one.",
        by,
        (((t.name,), t.round_trip_seconds) for t in t_meters if t.round_trip_seconds is not None),
    )
    yield _counter(
        "collector_tmeter_path_errors",
        "ICMP errors that came back for what was sent to it, by kind, since the agent's start.",
        ("tmeter", "kind"),
        (((t.name, kind), count) for t in t_meters for kind, count in t.path_errors.items()),
    )


def _nics(figures: Figures) -> Iterator[Metric]:
    yield _counter(
        "collector_nic_dropped_frames",
        "Frames that a NIC lost before the collector saw them or after it sent them, by the kernel's count.",
        ("interface", "where"),
        _by_two(figures.nic_drops),
    )
    yield _counter(
        "collector_nic_allowance_exceeded",
        "Packets held back or dropped because the cloud instance's allowance was used up (AWS ENA).",
        ("interface", "allowance"),
        _by_two(figures.allowances),
    )


def _by_two(counted: Mapping[str, Mapping[str, int]]) -> Iterator[Sample]:
    return (((one, other), count) for one, found in counted.items() for other, count in found.items())


def _state(figures: Figures) -> Iterator[Metric]:
    notes, status = figures.notes, figures.status
    yield _gauge(
        "collector_healthy", "Whether `collector status` finds nothing wrong.", (), (((), status.healthy),)
    )
    yield _gauge(
        "collector_config_last_apply_success",
        "Whether the last apply succeeded (1) or was refused (0).",
        (),
        (((), not notes.failed),),
    )
    yield _gauge(
        "collector_config_info",
        "The configuration that runs; no sample on a blank unit.",
        ("hash",),
        (((notes.digest,), 1),) if notes.digest else (),
    )
    if figures.observed:
        yield _gauge(
            "collector_config_file_in_use",
            "Whether what runs is what the file says (1), or the file is wrong or was not confirmed (0).",
            (),
            (((), not figures.observed.file_error),),
        )
    yield _counter("collector_applies", "Times that something was applied.", (), (((), notes.applies),))
    yield _counter(
        "collector_apply_failures", "Times that an apply was refused.", (), (((), notes.failures),)
    )
    yield _counter(
        "collector_drift_repairs",
        "Times that the agent put back what somebody else had taken away or changed.",
        (),
        (((), notes.repairs),),
    )


def _clock(clock: Clock) -> Iterator[Metric]:
    yield _gauge(
        "collector_clock_synchronized",
        "Whether the kernel says that this host's clock is kept right.",
        (),
        (((), clock.synchronized),),
    )
    yield _gauge(
        "collector_clock_estimated_error_seconds",
        "How wrong the clock may be, by the daemon that keeps it.",
        (),
        (((), clock.estimated_error_seconds),),
    )


def build_info() -> Metric:
    return _gauge("collector_build_info", "The version that runs.", ("version",), (((version(),), 1),))
