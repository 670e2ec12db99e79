"""A command that fails half-way leaves what was there before; one that is killed can be run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.lib.box import Box, complaint
from tests.lib.fault import NOTHING_FAILED, WORDS, Fault, Outcome
from tests.lib.snapshot import Snapshot

RESTORED = "What was there before is in place again."
REMOVED = "The rest is removed. Run it again: collector remove"  # at the end there is nothing to go back to
OTHER_T_METER = "192.0.2.3"


@dataclass(frozen=True)
class Case:
    """`before`: the edits of the file that runs, None for nothing. `after`: those of the one to come, None
    for `remove`."""

    name: str
    before: tuple[tuple[str, str], ...] | None
    after: tuple[tuple[str, str], ...] | None

    @property
    def command(self) -> str:
        return "remove" if self.after is None else "apply"


TC = ("vni: 12", "vni: 12, hook: tc")
CASES = (
    Case("first apply", None, ()),
    Case("from XDP to tc", (), (("vni: 12", "vni: 13, hook: tc"), ("192.0.2.2", OTHER_T_METER))),
    Case("from tc to XDP", (TC,), (("vni: 12", "vni: 13"),)),
    Case("remove", (), None),
)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))


def prepare(box: Box, case: Case) -> None:
    """What ran before runs, and the file is the one to come."""
    if case.before is None:
        box.quick("remove")
    else:
        box.write(*case.before)
        assert box.quick("apply").code == 0
    box.write(*case.after or ())


def works_as_before(box: Box, case: Case) -> bool:
    return case.before is None or box.forwarded() == 12


def attempts(
    box: Box, case: Case, of: str, how: str = "raise", step: int = 1
) -> Iterator[tuple[int, Outcome]]:
    """With the first fault, the second, and so on, until the command ends before it."""
    for number in range(0, 200, step):
        outcome = box.quick(case.command, fault=Fault(of, number, how))
        if outcome.code == NOTHING_FAILED:
            return
        yield number, outcome
    raise AssertionError("there is no end to it")


def all_is_well(box: Box, case: Case, outcome: Outcome, before: Snapshot) -> Snapshot:
    """The failed command has restored what was there, or says to be run again, which completes it.
    Returns the state that the next one starts from."""
    if case.command == "remove" and complaint(outcome).endswith(REMOVED):
        again = box.quick("remove")
        assert (again.code, again.err, box.pins.exists()) == (0, "", False)
        prepare(box, case)
        return box.snapshot()
    box.await_same(before)
    assert works_as_before(box, case)
    return before


def planned(box: Box, case: Case) -> list[str]:
    """The changes in words; the command is carried out for it, and taken back."""
    done = box.quick(case.command)
    assert done.code == 0
    prepare(box, case)
    return done.out.splitlines()


@pytest.fixture
def wide_box(box: Box) -> Box:
    """The t-meter has a second address, to move to."""
    box.tmeter.address("eth0", f"{OTHER_T_METER}/24")
    return box


@every_case
def test_a_change_that_fails_is_said_and_undone(wide_box: Box, case: Case) -> None:
    box = wide_box
    prepare(box, case)
    changes = planned(box, case)
    before = box.snapshot()

    failed = []
    for number, outcome in attempts(box, case, "change"):
        assert (number, outcome.code, outcome.out) == (number, 1, "")
        failed.append(complaint(outcome))
        before = all_is_well(box, case, outcome, before)
    hints = [REMOVED if change.startswith("remove the splitter") else RESTORED for change in changes]
    assert failed == [
        f"collector: could not {change}: {WORDS} {hint}" for change, hint in zip(changes, hints, strict=True)
    ]


@every_case
def test_a_state_that_is_not_what_was_wanted_is_undone(wide_box: Box, case: Case) -> None:
    box = wide_box
    prepare(box, case)
    before = box.snapshot()

    outcome = box.quick(case.command, fault=Fault("verify"))
    assert (outcome.code, outcome.out, complaint(outcome)) == (1, "", f"collector: {WORDS}")
    box.await_same(before)
    assert works_as_before(box, case)


@every_case
def test_any_write_may_fail(wide_box: Box, case: Case) -> None:
    """Every second one, for time. Either it was not needed, and the command went on, or all is as before;
    never a traceback."""
    box = wide_box
    prepare(box, case)
    before = box.snapshot()

    for number, outcome in attempts(box, case, "write", step=2):
        assert (number, "Traceback" in outcome.err, outcome.err) == (number, False, outcome.err)
        if outcome.code == 0:
            assert (number, box.quick("status", "--json").code) == (number, 0)
            prepare(box, case)
            before = box.snapshot()
            continue
        assert (number, outcome.code, outcome.out) == (number, 1, "")
        before = all_is_well(box, case, outcome, before)


def test_a_failed_apply_is_known_until_one_succeeds(box: Box) -> None:
    box.good("apply")
    box.write(("vni: 12", "vni: 13"))
    assert "collector_config_last_apply_success 1.0" in box.good("metrics").splitlines()
    assert box.quick("apply", fault=Fault("change")).code == 1
    assert "collector_config_last_apply_success 0.0" in box.good("metrics").splitlines()
    box.good("apply")
    assert "collector_config_last_apply_success 1.0" in box.good("metrics").splitlines()


def kill_everywhere(box: Box, case: Case, then: Callable[[int], None]) -> None:
    """At every fourth write. `then` is called after each kill, and must leave nothing of it."""
    prepare(box, case)
    for number, outcome in attempts(box, case, "write", "kill", step=4):
        assert (number, outcome.code) == (number, -9)
        then(number)
        prepare(box, case)


def test_after_a_killed_first_apply_remove_leaves_nothing_and_apply_completes(box: Box) -> None:
    before = box.snapshot()

    def mend(number: int) -> None:
        if number % 8:
            applied = box.quick("apply")
            assert (number, applied.code, complaint(applied)) == (number, 0, "")
            assert (number, box.forwarded()) == (number, 12)
        removed = box.quick("remove")
        assert (number, removed.code, complaint(removed)) == (number, 0, "")
        box.await_same(before)

    kill_everywhere(box, CASES[0], mend)


def test_a_kill_between_pinning_and_naming_leaves_no_stray_pin(box: Box) -> None:
    """A pin of a link holds its program in its place: one that nobody knows would keep all others out."""
    prepare(box, CASES[0])
    for number, outcome in attempts(box, CASES[0], "rename", "kill"):
        assert (number, outcome.code) == (number, -9)
        mended = box.quick("apply")
        assert (number, mended.code, complaint(mended)) == (number, 0, "")
        assert (number, '"hook": "xdp-native"' in box.quick("status", "--json").out) == (number, True)
        assert (number, [path.name for path in box.pins.glob("*_new")]) == (number, [])
        prepare(box, CASES[0])


@pytest.mark.parametrize("case", CASES[1:3], ids=lambda case: case.name.replace(" ", "-"))
def test_a_killed_change_forwards_on_and_apply_completes_it(wide_box: Box, case: Case) -> None:
    box = wide_box

    def mend(number: int) -> None:
        assert (number, box.forwarded() in (12, 13)) == (number, True)
        applied = box.quick("apply")
        assert (number, applied.code, complaint(applied)) == (number, 0, "")
        assert (number, box.forwarded()) == (number, 13)
        assert (number, box.quick("status", "--json").code) == (number, 0)

    kill_everywhere(box, case, mend)


def test_a_killed_remove_is_completed_by_another(box: Box) -> None:
    before = box.snapshot()

    def mend(number: int) -> None:
        removed = box.quick("remove")
        assert (number, removed.code, complaint(removed)) == (number, 0, "")
        box.await_same(before)

    kill_everywhere(box, CASES[3], mend)
