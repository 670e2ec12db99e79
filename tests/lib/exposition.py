"""Prometheus' text format, read by the client library's own parser."""

from __future__ import annotations

import re
from typing import TypeAlias

from prometheus_client.parser import text_string_to_metric_families

Sample: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
Family: TypeAlias = tuple[str, list[dict[str, str]]]  # its type, and the labels of each sample


def samples(exposition: str) -> dict[Sample, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def shape(exposition: str) -> dict[str, Family]:
    """Names, types and labels; what a version or a hash is, is left open."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", exposition, re.MULTILINE))
    found: dict[str, Family] = {name: (kind, []) for name, kind in types.items()}
    for name, labels in samples(exposition):
        open_ended = {key: "?" if key in ("hash", "version") else value for key, value in labels}
        found[name][1].append(open_ended)
    return found
