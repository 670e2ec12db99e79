"""`collector metrics` is what Prometheus expects: the agreed names and labels, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.lib.box import Box

REASONS = (
    "malformed", "loop", "unknown_vni", "oversize", "outer_fragment", "no_route", "neighbour", "egress",
    "no_memory", "unsupported",
)  # fmt: skip
WHERES = ("receive", "receive_missed", "receive_error", "transmit", "transmit_error")

# The agreed metrics: name, type, and the labels of each sample.
AGREED = {
    "collector_source_frames_total": ("counter", [{"source": "pbx"}]),
    "collector_source_bytes_total": ("counter", [{"source": "pbx"}]),
    "collector_source_passed_frames_total": ("counter", [{"source": "pbx"}]),
    "collector_source_last_frame_timestamp_seconds": ("gauge", [{"source": "pbx"}]),
    "collector_dropped_frames_total": (
        "counter", [{"source": "pbx", "reason": reason} for reason in REASONS]
    ),
    "collector_tmeter_frames_total": ("counter", [{"tmeter": "ohio"}]),
    "collector_tmeter_bytes_total": ("counter", [{"tmeter": "ohio"}]),
    "collector_tmeter_up": ("gauge", [{"tmeter": "ohio"}]),
    "collector_nic_dropped_frames_total": (
        "counter", [{"interface": name, "where": where} for name in ("eth1", "eth0") for where in WHERES]
    ),
    "collector_config_last_apply_success": ("gauge", [{}]),
    "collector_config_info": ("gauge", [{"hash": "?"}]),
    "collector_build_info": ("gauge", [{"version": "?"}]),
    "collector_scrape_errors_total": ("counter", [{}]),
}  # fmt: skip

Sample = tuple[str, tuple[tuple[str, str], ...]]


def samples(exposition: str) -> dict[Sample, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def shape(exposition: str) -> dict[str, tuple[str, list[dict[str, str]]]]:
    """Name, type and labels; what a version or a hash is, is left open."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", exposition, re.MULTILINE))
    found: dict[str, tuple[str, list[dict[str, str]]]] = {name: (kind, []) for name, kind in types.items()}
    for name, labels in samples(exposition):
        open_ended = {key: "?" if key in ("hash", "version") else value for key, value in labels}
        found[name][1].append(open_ended)
    return found


def promtool() -> Path:
    """Beside the interpreter, where `make` puts it, or in the PATH."""
    beside = Path(sys.executable).with_name("promtool")
    found = beside if beside.exists() else shutil.which("promtool")
    if found:
        return Path(found)
    if os.environ.get("CI") == "true":
        pytest.fail("promtool is not here: make test fetches it", pytrace=False)
    pytest.skip("promtool is not here: make test fetches it")


def is_clean(exposition: str) -> None:
    command = [str(promtool()), "check", "metrics"]
    done = subprocess.run(command, input=exposition, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_names_types_and_labels_are_the_agreed_ones(box: Box) -> None:
    box.good("apply")
    assert box.forwarded() == 12
    assert shape(box.good("metrics")) == AGREED


def test_the_figures(box: Box) -> None:
    box.good("apply")
    assert [box.forwarded(size) for size in (100, 200)] == [12, 12]
    found = samples(box.good("metrics"))

    def value(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    assert value("collector_source_frames_total", source="pbx") == 2
    assert value("collector_source_bytes_total", source="pbx") == 300
    assert value("collector_source_passed_frames_total", source="pbx") == 0
    assert value("collector_tmeter_frames_total", tmeter="ohio") == 2
    assert value("collector_tmeter_bytes_total", tmeter="ohio") == 300
    assert value("collector_tmeter_up", tmeter="ohio") == 1
    assert value("collector_config_last_apply_success") == 1
    assert value("collector_scrape_errors_total") == 0
    assert sum(number for (name, _), number in found.items() if name == "collector_dropped_frames_total") == 0
    age = time.time() - value("collector_source_last_frame_timestamp_seconds", source="pbx")
    assert 0 <= age < 60


def test_prometheus_finds_nothing_to_complain_of(box: Box) -> None:
    is_clean(box.good("metrics"))
    box.good("apply")
    is_clean(box.good("metrics"))


def test_before_the_first_frame_there_is_no_time_of_the_last(box: Box) -> None:
    box.good("apply")
    found = shape(box.good("metrics"))
    assert found.pop("collector_source_last_frame_timestamp_seconds") == ("gauge", [])
    assert found == {
        name: kind for name, kind in AGREED.items() if name != "collector_source_last_frame_timestamp_seconds"
    }


def test_a_blank_one_exposes_what_it_can(box: Box) -> None:
    """Every family is there; those of sources, t-meters, NICs and the configuration without samples."""
    of_its_own = {
        "collector_config_last_apply_success",
        "collector_build_info",
        "collector_scrape_errors_total",
    }
    assert shape(box.good("metrics")) == {
        name: (kind, labels if name in of_its_own else []) for name, (kind, labels) in AGREED.items()
    }


def test_the_hash_is_the_configurations(box: Box) -> None:
    def digest() -> str:
        (labels,) = [
            labels for name, labels in samples(box.good("metrics")) if name == "collector_config_info"
        ]
        return dict(labels)["hash"]

    box.good("apply")
    first = digest()
    box.write(("vni: 12", "vni: 13"))
    assert digest() == first
    box.good("apply")
    second = digest()
    assert second != first
    box.write()
    box.file.write_text("# words change nothing\n" + box.file.read_text())
    box.good("apply")
    assert digest() == first


def test_the_t_meters_next_hop_does_not_answer(box: Box) -> None:
    box.tmeter.down("eth0")
    box.quick("apply")
    assert samples(box.good("metrics"))["collector_tmeter_up", (("tmeter", "ohio"),)] == 0


def test_two_sources_are_two_series(box: Box) -> None:
    box.write(("t_meters", "  - {name: aws, type: vxlan, interface: eth0}\nt_meters"))
    box.good("apply")
    frames = {
        dict(labels)["source"]
        for name, labels in samples(box.good("metrics"))
        if name == "collector_source_frames_total"
    }
    assert frames == {"pbx", "aws"}
