"""A configuration that was brought and refused: said in one line, whatever somebody wrote into it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest

from collector.control import refused, status
from tests.lib.hosts import HOST


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    report = tmp_path / "collector-refused"
    monkeypatch.setattr(refused, "REPORT", report)
    return report


@pytest.mark.parametrize(
    ("content", "where", "why"),
    [
        (
            b"the volume COLLECTOR\ncollector.yaml:3:5: sources[0].type: is missing\nand this\n",
            "the volume COLLECTOR",
            "collector.yaml:3:5: sources[0].type: is missing",
        ),
        (
            b"the volume \x1b[2J\xff\n\n  \xe2\x80\xaeodd\x07\tname \n",
            "the volume \\x1b[2J\N{REPLACEMENT CHARACTER}",
            "\\u202eodd\\x07\\tname",
        ),
        (b"here\n" + b"x" * 100_000, "here", f"{'x' * 300}..."),
        (b"", "somewhere", "nobody says why"),
    ],
    ids=["plain", "hostile", "large", "empty"],
)
def test_in_words(report: Path, content: bytes, where: str, why: str) -> None:
    assert refused.refused() == ""
    report.write_bytes(content)
    assert refused.refused() == (
        f"a configuration from {where} was refused, and changed nothing: {why}; mend it and bring it again"
    )


def test_status_tells_it_and_is_healthy(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "read_observed", lambda _folder: None)
    assert status.status_of(HOST, "default", Mock()).notices == ()
    report.write_text("here\nwrong\n")
    told = status.status_of(HOST, "default", Mock())
    assert (told.configured, told.healthy, told.problems) == (False, True, ())
    assert told.notices == (refused.refused(),)


def test_a_report_that_cannot_be_read(report: Path) -> None:
    report.mkdir()
    assert refused.refused() == f"{report} cannot be read: Is a directory"
