"""docs/operations.md knows every metric, every alert and every message that there is, and no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.datapath import nic
from tests.lib.pages import LABELS, METRICS, OURS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
DEPLOY = ROOT / "deploy/prometheus"
TESTS = ("alerts_test.yml", "alerts_week_test.yml")

# Where the sentences are that an administrator reads: whole modules, or functions of them.
SPEAKERS: dict[str, tuple[str, ...]] = {
    "control/agent.py": (),
    "control/journal.py": (),
    "control/choice.py": ("read", "refresh", "_objection", "_REMOVED"),
    "control/lastgood.py": (),
    "control/refused.py": ("refused",),
    "control/files.py": ("replace_file",),
    "control/names.py": ("resolve", "lookup", "address"),
    "control/probe.py": (),
    "control/patherrors.py": ("in_words", "_too_large", "_WORDS"),
    "control/presence.py": ("__init__",),
    "control/status.py": (),
    "control/check.py": ("_require_ready", "_require_free_xdp", "_metrics_warnings"),
    "control/confirm.py": ("require_none", "confirm"),
    "control/lock.py": ("alone",),
    "control/apply.py": ("require_only_one",),
    "control/http/server.py": ("_refusal",),
    "datapath/tmeter.py": ("find_route",),
}
MORE: dict[str, tuple[str, ...]] = {"control/document.py": (), "control/changes.py": ()}  # of these: examples
ADVISING = {"control/patherrors.py"}  # what follows a colon there is advice


def section(title: str) -> str:
    return re.split(r"^##+ ", PAGE.split(f"# {title}\n")[1], flags=re.MULTILINE)[0]


def rows(title: str) -> list[list[str]]:
    """The cells of the section's tables, without their headings."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_every_metric_with_its_labels() -> None:
    told = {}
    for cell, *_ in rows("Metrics"):
        name, _, labels = cell.strip("`").partition("{")
        told[name] = tuple(labels.strip("}").split(",")) if labels else ()
    assert told == LABELS
    assert set(told) == OURS


def test_every_alert_with_its_severity() -> None:
    told = [(cells[0].strip("`"), cells[1]) for cells in rows("Alerts")]
    assert told == [(each["alert"], each["labels"]["severity"]) for each in alerts()]


def test_every_place_where_a_nic_loses_frames() -> None:
    told = [cells[0].strip("`") for cells in rows("Where a NIC loses frames")[1:]]  # less the heading
    assert told == list(nic._DROPS)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_alerts_speak_in_sentences_of_metrics_that_there_are(alert: dict[str, Any]) -> None:
    assert set(re.findall(r"\b(?:collector|process)_\w+", alert["expr"])) <= METRICS
    assert alert["annotations"].keys() == {"summary", "description"}
    assert alert["annotations"]["summary"].endswith(".")
    assert len(alert["annotations"]["summary"]) < 110


@pytest.mark.parametrize("alert", [each["alert"] for each in alerts()])
def test_alerts_have_cases_that_fire_and_that_do_not(alert: str) -> None:
    cases = [
        case
        for name in TESTS
        for test in yaml.safe_load((DEPLOY / name).read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


def spoken(module: str, only: tuple[str, ...]) -> Iterator[ast.AST]:
    tree = ast.parse((ROOT / "collector" / module).read_text())
    yield from [node for node in ast.walk(tree) if _name(node) in only] if only else [tree]


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return str(getattr(node, "name", ""))


def unsaid(node: ast.AST) -> Iterator[ast.AST]:
    """What is no message: documentation; and advice, for which the page has a column of its own."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr):
        yield node.body[0]
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id.endswith("Error"):
            yield from node.args[1:]
        yield from (each.value for each in node.keywords if each.arg == "advice")


def sentences(module: str, only: tuple[str, ...], least: int) -> set[str]:
    """The literal parts of its messages, between the values that are filled in; of `least` words."""
    found: set[str] = set()
    for part in spoken(module, only):
        silent = {id(each) for node in ast.walk(part) for above in unsaid(node) for each in ast.walk(above)}
        for node in ast.walk(part):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
                pieces = [re.split(r"[:;] ", each) for each in re.split(r"%s|\{\w+\}", node.value)]
                found |= {text for each in pieces for text in (each[:1] if module in ADVISING else each)}
    return {_plain(text) for text in found if len(re.findall(r"[a-z']{2,}", text)) >= least}


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("`", "")).strip(" :;,.(")


@pytest.mark.parametrize("module", SPEAKERS)
def test_every_sentence_is_on_the_page(module: str) -> None:
    page = _plain(PAGE)
    assert {each for each in sentences(module, SPEAKERS[module], 3) if each not in page} == set()


def test_no_message_is_on_the_page_that_nobody_says() -> None:
    """Some literal part of each message is in the code."""
    said = {each for module, only in (SPEAKERS | MORE).items() for each in sentences(module, only, 2)}
    titles = ("Problems", "Worth knowing", "The t-meter", "The log")
    told = [_plain(cells[0]) for title in titles for cells in rows(title)]
    assert [text for text in told if not any(each in text for each in said)] == []
