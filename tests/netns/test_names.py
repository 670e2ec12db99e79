"""A t-meter that is given by its host name."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.lib.box import Box, complaint

NAME = "tmeter.example.com"
KNOWN = (("192.0.2.2", NAME),)
# Bound over the system's own, for one process: no name server is asked.
PRIVATE = 'mount --bind "$0/hosts" /etc/hosts; mount --bind "$0/resolv.conf" /etc/resolv.conf; exec "$@"'
HINT = "Look at this host's DNS (/etc/resolv.conf), or write the t-meter's address in the file."


def run(box: Box, command: str, hosts: str) -> CompletedProcess[str]:
    """With an /etc/hosts of its own, and no DNS."""
    folder = box.file.parent / "etc"
    folder.mkdir(exist_ok=True)
    (folder / "hosts").write_text(hosts)
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    return box.run(*command.split(), prefix=("unshare", "--mount", "sh", "-e", "-c", PRIVATE, str(folder)))


def unresolved(done: CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout) == (1, "")
    words = complaint(done)
    assert words.startswith(f"collector: the t-meter's name {NAME} cannot be resolved: "), words
    assert words.endswith(HINT)


def t_meter(box: Box, hosts: str) -> dict[str, object]:
    (found,) = json.loads(run(box, "status --json", hosts).stdout)["t_meters"]
    return dict(found)


def test_frames_go_to_the_address_that_the_name_has(box: Box) -> None:
    box.write(*KNOWN)
    hosts = f"192.0.2.2 {NAME}\n"
    assert run(box, "check", hosts).returncode == 0
    applied = run(box, "apply", hosts)
    assert (applied.returncode, complaint(applied)) == (0, "")
    assert box.forwarded() == 12
    assert t_meter(box, hosts)["address"] == "192.0.2.2"


def test_a_name_that_has_moved_is_followed_by_the_next_apply(box: Box) -> None:
    box.tmeter.address("eth0", "192.0.2.3/24")
    box.write(*KNOWN)
    run(box, "apply", f"192.0.2.2 {NAME}\n")
    moved = f"192.0.2.3 {NAME}\n"
    assert run(box, "apply", moved).returncode == 0
    assert t_meter(box, moved)["address"] == "192.0.2.3"
    assert box.forwarded() == 12
    again = run(box, "apply", moved)
    assert (again.returncode, again.stdout) == (0, "nothing to change\n")


@pytest.mark.parametrize("command", ["check", "plan", "apply"])
def test_a_name_that_nobody_knows_is_said(box: Box, command: str) -> None:
    before = box.snapshot()
    box.write(*KNOWN)
    unresolved(run(box, command, "127.0.0.1 localhost\n"))
    box.await_same(before)


def test_what_ran_goes_on_when_the_name_is_lost(box: Box) -> None:
    box.write(*KNOWN)
    assert run(box, "apply", f"192.0.2.2 {NAME}\n").returncode == 0
    before = box.snapshot()
    unresolved(run(box, "apply", "127.0.0.1 localhost\n"))
    box.await_same(before)
    assert box.forwarded() == 12


def test_status_metrics_and_remove_need_no_name_server(box: Box) -> None:
    nobody = "127.0.0.1 localhost\n"
    box.write(*KNOWN)
    assert run(box, "apply", f"192.0.2.2 {NAME}\n").returncode == 0
    assert t_meter(box, nobody)["address"] == "192.0.2.2"
    assert "collector_tmeter_frames_total" in run(box, "metrics", nobody).stdout
    removed = run(box, "remove", nobody)
    assert (removed.returncode, removed.stderr) == (0, "")
    assert not Path(box.pins).exists()
