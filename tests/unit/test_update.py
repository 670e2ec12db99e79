"""`collector update`: what it says of versions, of progress, and of what went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from collector.cli import main_group
from collector.control.fallback import read_fallback
from collector.errors import CollectorError, HostError, InputError
from collector.operate.update import appliance, show
from collector.operate.update.appliance import Slot, Slots
from collector.operate.update.words import refusal

RUNNING = Slot("A", "1.0.0", "good")
FELL_BACK = "this machine went back to version 1.0.0 by itself: the new version did not start"


@pytest.mark.parametrize(
    ("said", "kind", "what"),
    [
        (
            "signature verification failed: Verify error: self-signed certificate",
            InputError,
            "x.raucb is not signed by the makers of the version that runs here",
        ),
        (
            "Compatible mismatch: Expected 'collector-amd64' but bundle manifest has 'toaster'",
            InputError,
            "x.raucb is for another product: for toaster, and this is collector-amd64",
        ),
        (
            "Version mismatch: Expected at least '1.0.0' but bundle manifest has '0.9.0'",
            InputError,
            "x.raucb is version 0.9.0, and what runs here can only be replaced by 1.0.0 or newer",
        ),
        (
            "Version mismatch: Expected at least '1.0.0' but bundle manifest has no version",
            InputError,
            "x.raucb is version unknown, and what runs here can only be replaced by 1.0.0 or newer",
        ),
        (
            "Invalid bundle format: Signature size (12503367727849402943) exceeds bundle size",
            InputError,
            "x.raucb is no update bundle, or a part of it is missing",
        ),
        (
            "Failed updating slot root.1: Slot (10 bytes) is too small for image (20 bytes).",
            HostError,
            "x.raucb is larger than the place for it on the disk",
        ),
        ("Already processing a different method", HostError, "another update is being installed"),
        (
            "Failed to stream bundle x.raucb: not found: HTTP 404",
            HostError,
            "the server does not give out x.raucb",
        ),
        (
            "Failed to stream bundle x.raucb: failed to configure streaming: Couldn't connect to server",
            HostError,
            "x.raucb cannot be fetched",
        ),
        (
            "Post-install handler error: Child process exited with code 1",
            HostError,
            "the disk does not give back what was written to it",
        ),
        ("something new", HostError, "x.raucb was not installed: something new"),
        ("", HostError, "x.raucb was not installed: RAUC does not answer"),
    ],
)
def test_why_an_update_was_refused(said: str, kind: type[CollectorError], what: str) -> None:
    error = refusal(said, "x.raucb")
    assert (type(error), error.what) == (kind, f"{what}. What runs is unchanged.")
    assert error.hint
    assert max(len(line) for line in error.hint.splitlines()) <= 78


@pytest.mark.parametrize(
    ("slots", "fallback", "lines"),
    [
        (
            Slots(RUNNING, Slot("B", "", "empty"), "A", development=False, installing=False),
            "",
            ["version 1.0.0 runs, from slot A", "slot B is free"],
        ),
        (
            Slots(RUNNING, Slot("B", "1.1.0", "new"), "B", development=False, installing=False),
            "",
            [
                "version 1.0.0 runs, from slot A",
                "version 1.1.0 is in slot B, and starts at the next restart",
            ],
        ),
        (
            Slots(Slot("B", "1.1.0", "new"), RUNNING, "B", development=True, installing=True),
            "",
            [
                "version 1.1.0 runs, from slot B, and is being checked",
                "version 1.0.0 is in slot A; to go back to it: collector update rollback",
                "  * an update is being installed",
                "  * it takes updates that are signed by a DEVELOPMENT key: not for production",
            ],
        ),
        (
            Slots(RUNNING, Slot("B", "1.1.0", "failed"), "B", development=False, installing=False),
            FELL_BACK,
            [
                "version 1.0.0 runs, from slot A",
                "version 1.1.0 is in slot B; it did not start, and is not tried again",
                f"  ! {FELL_BACK}",
                "    To stay with this version: collector update rollback",
            ],
        ),
    ],
)
def test_status(slots: Slots, fallback: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    show.print_slots(slots, fallback, as_json=False)
    assert capsys.readouterr().out.splitlines() == lines


def fake_rauc(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    program = folder / "rauc"
    program.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rauc(tmp_path, monkeypatch, "echo installing", "echo '  0% Installing'", "echo ' 40% Copying image'",
              "echo '100% Installing done.'", "echo idle")  # fmt: skip
    told: list[int] = []
    appliance.install("/x.raucb", told.append)
    assert told == [0, 40, 100]


def test_the_last_error_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rauc(tmp_path, monkeypatch, "echo ' 40% Copying image'",
              "echo 'LastError: Failed updating slot root.1: Input/output error'", "exit 1")  # fmt: skip
    with pytest.raises(HostError) as refused:
        appliance.install("/x.raucb", lambda _percent: None)
    assert "the disk cannot be written" in refused.value.what


@pytest.mark.parametrize("words", [["x.raucb"], ["install", "x.raucb"], ["status"], ["rollback"]])
def test_elsewhere_it_says_so(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appliance, "LIBRARY", tmp_path / "none")
    done = CliRunner().invoke(main_group, ["update", *words])
    assert isinstance(done.exception, HostError)
    assert done.exception.what == "this is not the appliance: here the collector is updated as a package"


@pytest.mark.parametrize(
    ("state", "what"),
    [("empty", "there is no other version to go back to"), ("new", "version 1.1.0 was never found good here"),
     ("failed", "version 1.1.0 was never found good here")],
)  # fmt: skip
def test_it_goes_back_to_a_good_version_only(state: str, what: str) -> None:
    with pytest.raises(HostError) as refused:
        show.require_good(Slot("B", "1.1.0", state))
    assert refused.value.what == what


def test_a_fallback_is_read_where_there_is_one(tmp_path: Path) -> None:
    file = tmp_path / "appliance/fallback"
    assert read_fallback(file) is None
    file.parent.mkdir()
    assert read_fallback(file) == ""
    file.write_text(f"{FELL_BACK}\n")
    assert read_fallback(file) == FELL_BACK
