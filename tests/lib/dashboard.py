"""The dashboard's queries, as Grafana would send them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "deploy/grafana/collector.json"
ALL = {"$instance": ".*", "$source": ".*", "$__rate_interval": "20s"}  # four scrapes of the test's


@dataclass(frozen=True)
class Query:
    panel: str
    kind: str  # stat, timeseries or table
    legend: str
    expression: str
    unit: str


def load() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILE.read_text())
    return loaded


def queries(variables: Mapping[str, str] = ALL) -> Iterator[Query]:
    for panel in load()["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            unit = panel["fieldConfig"]["defaults"].get("unit", "")
            yield Query(panel["title"], panel["type"], target["legendFormat"], expression, unit)
