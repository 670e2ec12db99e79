"""`apply --confirm-within`: the former state comes back by itself, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.control.lock import alone
from collector.control.notes import change_notes, read_notes
from collector.control.observed import boottime
from collector.control.presence import call
from collector.operate.lab import NOWHERE, Process, wait_for
from tests.lib.agent import agent_of
from tests.lib.box import Box, complaint
from tests.lib.fault import Fault
from tests.lib.snapshot import Snapshot, changed
from tests.netns.test_world import processes_of

PATIENCE = 40.0  # seconds; what is waited for takes 5, and a slow machine
VNI_13 = ("vni: 12", "vni: 13")
BACK = "the last apply was not confirmed in time: the configuration before it is in use again"


def guards(box: Box) -> list[int]:
    """Processes that wait to take something back."""
    found = []
    for file in processes_of(box.instance):
        words = Path(file).read_bytes().split(b"\0")
        if b"guard" in words:
            found.append(int(Path(file).parent.name))
    return found


@pytest.fixture
def trying(box: Box) -> Iterator[Box]:
    """VNI 12 runs; the file says 13. What waits is ended."""
    box.good("apply")
    box.write(VNI_13)
    try:
        yield box
    finally:
        for number in guards(box):
            os.kill(number, signal.SIGKILL)


def await_vni(box: Box, vni: int) -> None:
    wait_for(lambda: box.forwarded() == vni, f"VNI {vni}", PATIENCE)


def apply(box: Box, seconds: int = 3600) -> str:
    """The real one, which leaves its guard behind."""
    done = box.run("apply", "--confirm-within", str(seconds))
    assert (done.returncode, complaint(done)) == (0, "")
    return done.stdout


def time_passes(box: Box) -> None:
    """Until the deadline."""
    with alone():
        pending = read_notes(box.pins).pending
        assert pending
        change_notes(box.pins, pending=replace(pending, deadline=boottime()))
    with box.host.enter():
        call(box.instance)


def settled(box: Box) -> bool:
    """Nothing waits any more."""
    return read_notes(box.pins).pending is None and guards(box) == []


def taken_back(box: Box) -> None:
    wait_for(lambda: settled(box), "the guard to end", PATIENCE)
    assert box.forwarded() == 12


def test_it_is_taken_back_by_itself(trying: Box) -> None:
    box = trying
    before = box.snapshot()
    assert apply(box, 5).endswith("\nThis is taken back in 5 s. To keep it: collector confirm\n")
    assert box.forwarded() == 13
    assert notices(box)[0].startswith("the last apply is taken back in ")
    wait_for(lambda: settled(box), "the guard to end", PATIENCE)
    assert box.forwarded() == 12
    assert notices(box) == [BACK]
    same_but_for_the_note(before, box.snapshot())
    assert box.quick("confirm").out == "nothing waits to be confirmed\n"
    box.good("apply")
    assert box.forwarded() == 13
    assert notices(box) == []


def notices(box: Box) -> list[str]:
    return list(json.loads(box.good("status", "--json"))["notices"])


def same_but_for_the_note(before: Snapshot, after: Snapshot) -> None:
    """And for the programs, which are new ones."""
    digests = [told.pop("notes notes")["digest"] for told in (before, after)]
    assert digests[0] == digests[1]
    (pins,) = [value for name, value in before.items() if name.startswith("folder ")]
    for name in [name for name in changed(before, after) if name.partition(" ")[2] in pins]:
        del before[name], after[name]
    for link in (told for name, told in [*before.items(), *after.items()] if name.startswith("link ")):
        link.pop("xdp", None)
    assert changed(before, after) == {}


def test_it_is_kept_when_it_is_confirmed(trying: Box) -> None:
    box = trying
    apply(box)
    again = box.quick("apply", "--confirm-within", "60")
    assert (again.code, again.out) == (1, "")
    waits = (
        r"collector: an earlier apply still waits to be confirmed, for \d+ s "
        r"Keep it: collector confirm\. Or wait until it is taken back\."
    )
    assert re.fullmatch(waits, complaint(again))
    assert re.fullmatch(waits, complaint(box.quick("apply")))

    assert box.good("confirm") == "kept\n"
    wait_for(lambda: settled(box), "the guard to end", PATIENCE)
    assert box.forwarded() == 13
    assert box.good("apply") == "nothing to change\n"


def test_what_changes_nothing_waits_for_nobody(box: Box) -> None:
    box.good("apply")
    assert apply(box, 600) == "nothing to change\n"
    wait_for(lambda: settled(box), "the guard to end", PATIENCE)
    assert box.good("apply") == "nothing to change\n"


def test_a_failed_apply_leaves_nothing_that_waits(trying: Box) -> None:
    box = trying
    before = box.snapshot()
    box.write(("eth1", "eth7"))
    assert box.quick("apply", "--confirm-within", "60").code == 2
    box.write(VNI_13)
    failed = box.quick("apply", "--confirm-within", "600", fault=Fault("change", 2))
    assert failed.code == 1
    box.await_same(before)
    wait_for(lambda: settled(box), "the guard to end", PATIENCE)
    assert box.forwarded() == 12


def test_a_failed_first_apply_leaves_nothing(box: Box) -> None:
    before = box.snapshot()
    assert box.quick("apply", "--confirm-within", "600", fault=Fault("change", 7)).code == 1
    box.await_same(before)
    wait_for(lambda: settled(box), "the guard to end", PATIENCE)


# Who dies


def start(box: Box, *prefix: str, seconds: int = 3600) -> Process:
    command = [sys.executable, "-m", "collector", *box.argv("apply", "--confirm-within", str(seconds))]
    return box.host.start([*prefix, *command], stdout=NOWHERE, stderr=NOWHERE)


def await_guard(box: Box) -> int:
    wait_for(lambda: guards(box), "the guard", PATIENCE)
    (number,) = guards(box)
    return number


@pytest.mark.parametrize("write", [8, 16])
def test_the_command_is_killed_in_the_middle(trying: Box, write: int) -> None:
    box = trying
    killed = box.quick("apply", "--confirm-within", "5", fault=Fault("write", write, "kill"))
    assert killed.code == -signal.SIGKILL
    pending = read_notes(box.pins).pending
    assert pending
    box.host.start([sys.executable, "-m", "collector", *box.argv("guard", pending.token)])
    kept = box.quick("confirm")
    assert (kept.code, kept.out) == (1, "")
    assert "the apply that waits to be confirmed was killed before its end" in complaint(kept)
    time_passes(box)
    taken_back(box)
    assert box.quick("status", "--json").code == 0


def kill_group(process: Process) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def hang_up(process: Process) -> None:
    """As the kernel does to a session whose terminal is gone."""
    os.killpg(process.pid, signal.SIGHUP)


@pytest.mark.parametrize("end", [kill_group, hang_up])
def test_the_shell_is_killed_or_hung_up(trying: Box, end: Callable[[Process], None]) -> None:
    box = trying
    shell = start(box, "env", "--default-signal=HUP", "setsid", "sh", "-c", '"$@"; kill -STOP $$', "sh")
    await_guard(box)
    wait_for(lambda: box.forwarded() == 13, "the new configuration", PATIENCE)
    end(shell)
    shell.wait()
    time_passes(box)
    taken_back(box)


def test_the_command_is_killed_as_soon_as_it_has_begun(trying: Box) -> None:
    box = trying
    process = start(box)
    wait_for(lambda: read_notes(box.pins).pending, "its begin", PATIENCE)
    process.kill()
    process.wait()
    time_passes(box)
    taken_back(box)


def test_the_first_apply_ever_is_taken_back_whole_and_not_tried_again(box: Box) -> None:
    before = box.snapshot()
    with agent_of(box) as agent:
        text = box.file.read_text()
        box.file.unlink()
        agent.start()
        box.file.write_text(text)
        apply(box)
        agent.says("the agent follows what was applied by hand")
        time_passes(box)
        agent.says("the agent follows what was there before the apply that was not confirmed")
        agent.becomes(lambda status: not status["configured"] and status["healthy"], "nothing to run")
        refused = f"{box.file} was applied and not confirmed, so the one before it is in use; "
        agent.hang_up()
        agent.says(refused)
        agent.stop()
        agent.start()
        agent.says(refused)
        assert agent.status()["configured"] is False
        assert agent.get("/healthz") == (200, "fine\n")
        assert box.good("apply") != "nothing to change\n"
        agent.becomes(lambda status: status["notices"] == [], "nothing to say")
        assert box.forwarded() == 12
        agent.stop()
        box.good("remove")
    box.await_same(before)


def killed_guard(box: Box) -> None:
    process = start(box)
    assert process.wait() == 0
    os.kill(await_guard(box), signal.SIGKILL)
    wait_for(lambda: guards(box) == [], "its end")


def test_the_agent_takes_back_what_the_guard_cannot(trying: Box) -> None:
    box = trying
    with agent_of(box) as agent:
        box.write()
        agent.start()
        box.write(VNI_13)
        killed_guard(box)
        assert box.forwarded() == 13
        time_passes(box)
        agent.says("the last apply was not confirmed in time: back to the configuration before it")
        await_vni(box, 12)
        agent.hang_up()
        agent.says(f"{box.file} was applied and not confirmed")
        assert box.forwarded() == 12
        assert agent.metric("collector_drift_repairs_total") == 0


def test_the_next_agent_takes_back_what_nobody_could(trying: Box) -> None:
    box = trying
    killed_guard(box)
    assert box.forwarded() == 13
    time_passes(box)
    with agent_of(box) as agent:
        agent.start()
        agent.says("the last apply was not confirmed in time")
        await_vni(box, 12)


def test_the_agent_takes_back_a_killed_apply_at_once(trying: Box) -> None:
    box = trying
    with agent_of(box) as agent:
        box.write()
        agent.start()
        box.write(VNI_13)
        killed = box.quick("apply", "--confirm-within", "3600", fault=Fault("write", 14, "kill"))
        assert killed.code == -signal.SIGKILL
        box.host.address("eth0", "192.0.2.8/24")  # something to look at
        agent.says("the last apply was killed before its end: back to the configuration before it")
        await_vni(box, 12)
        wait_for(lambda: settled(box), "the guard to end", PATIENCE)


def test_an_empty_configuration_is_taken_back_as_well(box: Box) -> None:
    box.good("apply")
    box.file.write_text("version: 1\n")
    apply(box)
    assert box.good("status").startswith("not configured: nothing is forwarded\n")
    time_passes(box)
    taken_back(box)


def test_remove_leaves_nothing_that_waits(trying: Box) -> None:
    box = trying
    apply(box, 600)
    box.good("remove")
    wait_for(lambda: settled(box), "the guard to end", PATIENCE)
    assert not box.pins.exists()


def test_while_an_apply_waits_the_agent_reads_no_other_file(trying: Box) -> None:
    box = trying
    with agent_of(box) as agent:
        box.write()
        agent.start()
        box.write(VNI_13)
        apply(box, 600)
        agent.says("the agent follows what was applied by hand")
        box.write(("vni: 12", "vni: 14"))
        agent.hang_up()
        agent.says(f"{box.file} is not read while an apply waits to be confirmed; ")
        assert box.forwarded() == 13
        assert box.good("confirm") == "kept\n"
        agent.hang_up()
        await_vni(box, 14)
