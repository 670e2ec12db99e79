"""What the pages and the deployed files may speak of: the metrics that there are."""

from __future__ import annotations

from collector.control.clock import Clock
from collector.control.families import Figures
from collector.control.metrics import KernelCollector
from collector.control.notes import Notes
from collector.control.observed import Observed
from collector.control.status import Status

_NOTHING = Figures(
    now=0,
    status=Status("default", True, False, (), (), ()),
    notes=Notes(),
    observed=Observed(),
    nic_drops={},
    allowances={},
    clock=Clock(True, 0, 0, 0),
    fallback="",
)


def _labels() -> dict[str, tuple[str, ...]]:
    """Of every metric, by its name as it is exposed."""
    found = KernelCollector(lambda: _NOTHING).collect()
    return {
        f"{each.name}_total" if each.type == "counter" else each.name: tuple(each._labelnames)  # type: ignore[attr-defined]
        for each in found
    }


LABELS = _labels()
PROCESS = {f"process_{what}" for what in ("resident_memory_bytes", "cpu_seconds_total", "start_time_seconds")}
OURS = set(LABELS)
METRICS = OURS | PROCESS
