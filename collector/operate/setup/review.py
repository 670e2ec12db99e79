"""What is shown before anything is changed, and while it waits to be kept: texts only."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from collector.control.status import Status
from collector.operate.setup.dialogue import WIDTH, Choice, Question
from collector.operate.setup.facts import Facts
from collector.operate.setup.network import MIRROR, Static
from collector.operate.setup.wanted import Wanted
from collector.operate.setup.written import write

_CHANGE = Choice("change", "change an answer")
FILE = Question(
    "file", "Is this what you want?", choices=(Choice("yes", "yes; show what will be changed"), _CHANGE),
    default="yes",
)  # fmt: skip
GO = Question(
    "go",
    "Shall it be done?",
    words=("Then you see what arrives. Unless you say within two minutes that it is right, it is undone.",),
    choices=(Choice("yes", "yes, do it"), _CHANGE),
    default="yes",
)
_NOTHING = "nothing: it runs like this already"
CHECKED_LATER = "\nWhether the t-meter can be reached is checked once the network is set."


def summary(facts: Facts, wanted: Wanted) -> str:
    lines = ["", _rule(str(facts.file)), *_about_file(facts, wanted), "", *wanted.text.splitlines()]
    for words in (_about_own_address(facts, wanted), _about_mirror(wanted)):
        lines += ["", *wrap(words, WIDTH)] if words else []
    if wanted.key:
        lines += ["", f"SSH key for {facts.admin}: {wanted.key.kind} {wanted.key.comment}"[:WIDTH].rstrip()]
        lines += [f"  {wanted.key.fingerprint}"]
    return "\n".join(lines)


def _about_file(facts: Facts, wanted: Wanted) -> list[str]:
    if wanted.text == facts.text:
        return wrap("The file stays as it is.", WIDTH)
    if not facts.text:
        return []
    words = f"The old file is kept as {facts.file}.bak."
    if "#" in facts.text and facts.text != write(facts.data or {}):
        words += " Comments of your own are there only."
    return wrap(words, WIDTH)


def _about_own_address(facts: Facts, wanted: Wanted) -> str:
    here = facts.nic(wanted.own_nic)
    if here is None:
        return ""
    if wanted.moves:
        return f"{here.name} gets its address {_address(wanted.static)}."
    now = f"{here.name} keeps its address{f' {here.addresses[0]}' if here.addresses else ''}"
    why = " (it is not systemd-networkd that sets it, so setup leaves it alone)"
    return f"{now}{why if here.network_file is None else ''}."


def _address(static: Static | None) -> str:
    if static is None:
        return "by DHCP"
    dns = f"DNS {' '.join(static.dns)}" if static.dns else "no DNS"
    gateway = f"gateway {static.gateway}" if static.gateway else "no gateway"
    return f"{static.address}, {gateway}, {dns}"


def _about_mirror(wanted: Wanted) -> str:
    if MIRROR not in wanted.network:
        return ""
    if not wanted.is_mirror:
        return f"{wanted.nic} gets its address by DHCP: it is no mirror port any more."
    return f"{wanted.nic} gets no address and says nothing, as it should be on a mirror port."


def _rule(title: str) -> str:
    return f"-- {title} " + "-" * (WIDTH - len(title) - 4)


def changes(planned: Sequence[str], warnings: Sequence[str]) -> str:
    lines = ["", _rule("what will be changed"), ""]
    lines += [line for each in planned or [_NOTHING] for line in wrap(each, WIDTH, subsequent_indent="  ")]
    for each in warnings:
        lines += ["", *wrap(f"warning: {each}", WIDTH)]
    return "\n".join(lines)


def flow(now: Status, start: Status, before: Status, seconds: float) -> list[str]:
    """Frames since `start`, and a second since `before`."""
    lines = []
    for word, count in (("arriving", _arriving), ("sent", _sent), ("dropped", _dropped)):
        frames, rate = count(now) - count(start), (count(now) - count(before)) / seconds
        lines.append(f"  {word:<10}{max(0, frames):>12,} frames {max(0, rate):>10,.0f} a second")
    return [*lines, *(f"  {line}" for line in _troubles(now))]


def _arriving(status: Status) -> int:
    return sum(each.frames for each in status.sources)


def _sent(status: Status) -> int:
    return sum(each.frames for each in status.t_meters)


def _dropped(status: Status) -> int:
    return sum(sum(each.drops.values()) for each in status.sources)


def _troubles(status: Status) -> list[str]:
    """At most three lines, so that the picture keeps its place on a small screen."""
    words = list(status.problems) + [
        f"t-meter {each.name}: {each.why}" for each in status.t_meters if each.why
    ]
    return [line for each in words for line in wrap(f"! {each}", WIDTH - 2)][:3]
