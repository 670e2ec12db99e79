"""The Grafana dashboard: whole, without overlaps, and about metrics that there are."""

from __future__ import annotations

import itertools
import re

from tests.lib.dashboard import FILE, load, queries
from tests.lib.pages import METRICS

WIDTH = 24
SOURCE_OF_ALL = {"type": "prometheus", "uid": "${datasource}"}


def test_it_is_written_as_grafana_writes_it() -> None:
    assert FILE.read_text().endswith("}\n")
    board = load()
    assert (board["uid"], board["title"], board["id"]) == ("collector", "Collector", None)
    assert board["schemaVersion"] >= 36
    assert [each["name"] for each in board["templating"]["list"]] == ["datasource", "instance", "source"]


def test_every_panel_has_a_number_a_title_and_the_chosen_data_source() -> None:
    panels = load()["panels"]
    assert len({each["id"] for each in panels}) == len({each["title"] for each in panels}) == len(panels)
    assert all(each["datasource"] == SOURCE_OF_ALL for each in panels)
    assert all(target["datasource"] == SOURCE_OF_ALL for each in panels for target in each["targets"])
    assert all(each["description"] for each in panels)


def test_the_panels_fill_the_width_and_do_not_overlap() -> None:
    places = [
        (x, y)
        for panel in load()["panels"]
        for place in (panel["gridPos"],)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(places)) == len(places)
    height = max(y for _, y in places) + 1
    assert set(places) == set(itertools.product(range(WIDTH), range(height)))


def test_it_asks_for_metrics_that_there_are() -> None:
    named = {
        name for query in queries() for name in re.findall(r"\b(?:collector|process)_\w+", query.expression)
    }
    assert named - METRICS == set()


def test_every_query_can_be_narrowed_to_one_collector() -> None:
    narrowed = {query.expression for query in queries({}) if 'instance=~"$instance"' in query.expression}
    assert {query.expression for query in queries({})} == narrowed
