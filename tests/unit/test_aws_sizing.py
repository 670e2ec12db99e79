"""The page on sizing computes what it says it computes, of what was measured."""

from __future__ import annotations

import re

import pytest

from tests.lib.given import ROOT

SIZING = (ROOT / "docs/sizing.md").read_text()
PERFORMANCE = (ROOT / "docs/performance.md").read_text()
VCPUS = {"medium": 2, "large": 2, "xlarge": 4, "2xlarge": 8}
OF_214 = PERFORMANCE.partition("Frames of 214 bytes")[2].partition("Frames of 1400")[0]


def figure(name: str) -> float:
    found = re.search(rf"^\| {re.escape(name)} \| ([\d.]+)", SIZING, re.MULTILINE)
    assert found, name
    return float(found[1])


def measured(row: str) -> int:
    found = re.search(rf"^{re.escape(row)} .* (\d+)$", OF_214, re.MULTILINE)
    assert found, row
    return int(found[1])


def test_the_cost_of_a_frame_is_the_measured_one() -> None:
    assert figure("CPU time of a frame at tc") == measured("collector at tc")
    assert figure("CPU time of a frame at XDP") == measured("collector, rewrap at XDP")


def test_the_bandwidth_of_a_call() -> None:
    bits = figure("frames a second of a call") * figure("bytes of a frame, wrapped") * 8
    assert figure("bandwidth of a call, in and again out") == round(bits / 1e6, 3)


@pytest.mark.parametrize("row", re.findall(r"^\| `(\w+\.\w+)` \| (.*) \|$", SIZING, re.MULTILINE))
def test_the_calls_of_an_instance(row: tuple[str, str]) -> None:
    instance, figures = row
    gigabits, by_bandwidth, by_cpu, calls = (float(each) for each in figures.split(" | "))
    frames, size = figure("frames a second of a call"), figure("bytes of a frame, wrapped")
    cost = figure("CPU time of a frame at tc") * 1e-9
    assert by_bandwidth == gigabits * 1e9 * 0.5 // (frames * size * 8)
    assert by_cpu == VCPUS[instance.split(".")[1]] * 0.25 // (frames * cost)
    assert calls == min(by_bandwidth, by_cpu)
