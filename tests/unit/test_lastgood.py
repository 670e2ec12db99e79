"""What is kept on disk for after a restart: written as a whole, only when it is new, and never a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.control.lastgood import LastGood

TEXT = (
    "# as it was\r\nversion: 1\nsources: [{name: pbx, type: span, interface: eth1, vni: 12}]\n"
    "t_meters: [{name: ohio, address: 192.0.2.2}]\n"
)


def kept_in(folder: Path, instance: str = "default") -> LastGood:
    return LastGood(instance, {"STATE_DIRECTORY": f"{folder}:/nowhere"})


def text_of(kept: LastGood) -> str | None:
    file = kept.read()
    return file.document.text if file else None


def test_the_text_as_it_was_and_only_for_its_instance(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    assert (kept.read(), kept.unconfirmed()) == (None, "")
    kept.keep(TEXT, "0123456789ab")
    again = kept_in(tmp_path)
    assert (text_of(again), again.unconfirmed()) == (TEXT, "0123456789ab")
    read = again.read()
    assert read
    assert read.filename == "the configuration that was applied"
    assert kept_in(tmp_path, "branch").read() is None
    files = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    assert files.keys() == {"default/applied.yaml", "default/unconfirmed"}
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}


def test_it_is_written_only_when_it_is_new(tmp_path: Path) -> None:
    kept, file = kept_in(tmp_path), tmp_path / "default/applied.yaml"
    kept.keep(TEXT, "")
    first = file.stat()
    kept.keep(TEXT, "")
    assert file.stat() == first
    kept.keep(TEXT + "# more\n", "")
    assert file.stat().st_ino != first.st_ino
    kept.keep(None, "")
    assert list((tmp_path / "default").iterdir()) == []
    kept.keep(None, "")


def test_without_systemd_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = LastGood("default", {})
    kept.keep(TEXT, "0123456789ab")
    kept.refuse("0123456789ab")
    assert (kept.read(), kept.unconfirmed(), list(tmp_path.iterdir())) == (None, "", [])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "applied.yaml:1:1: the file is empty; "),
        (TEXT.encode()[:40], "applied.yaml:"),
        (bytes(4096), "applied.yaml:1:1: the character U+0000 cannot stand here; remove it"),
        (b"\xff\xfe", "applied.yaml:1:1: this is not UTF-8 text; "),
        (b"version: 2\n", "applied.yaml:1:10: version: "),
        (bytes(2 << 20), "applied.yaml: the file is larger than 1 MiB"),
    ],
    ids=["empty", "cut", "zeros", "bytes", "other-version", "large"],
)
def test_what_cannot_be_used_is_left_out_in_words_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, why: str
) -> None:
    kept = kept_in(tmp_path)
    kept.keep(TEXT, "")
    (tmp_path / "default/applied.yaml").write_bytes(content)
    assert kept.read() is None
    (said,) = caplog.messages
    assert said.startswith(
        f"the configuration that was applied last cannot be used: {tmp_path}/default/{why}"
    )
    kept.keep(TEXT, "")
    assert text_of(kept) == TEXT


def test_a_folder_where_the_file_should_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "default/applied.yaml"
    file.mkdir(parents=True)
    kept = kept_in(tmp_path)
    assert kept.read() is None
    (said,) = caplog.messages
    assert said.startswith(
        f"the configuration that was applied last cannot be used: {file}: this is a directory"
    )


def test_what_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("no folder")
    kept = kept_in(tmp_path / "state")
    for _ in range(2):
        kept.keep(TEXT, "")
    (said,) = caplog.messages
    assert said == (
        "what is applied cannot be kept for the next start: "
        f"{tmp_path}/state/default/applied.yaml cannot be written: Not a directory\n"
        "  Is the disk full, or read-only?"
    )
