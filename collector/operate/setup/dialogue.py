"""The questions' order, forth and back. Nothing here reads or writes: answers come in as texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

WIDTH = 76
Answers = Mapping[str, str]


def any_text(text: str) -> str:
    return text


@dataclass(frozen=True)
class Choice:
    value: str
    label: str


@dataclass(frozen=True)
class Question:
    """`default`: a value, not the number of a choice; None where an answer is needed.

    `parse` raises ValueError, in words. `no_leads_to`: the question that comes again after a "no".
    """

    key: str
    title: str
    words: tuple[str, ...] = ()
    prompt: str = ""
    choices: tuple[Choice, ...] = ()
    default: str | None = None
    parse: Callable[[str], str] = any_text
    nics: bool = False  # its choices are NICs, shown with what arrives there
    no_leads_to: str = ""

    def value(self, typed: str) -> str:
        """What was typed, as a value; ValueError in words."""
        text = typed.strip()
        if not text:
            if self.default is None:
                raise ValueError("an answer is needed here")
            text = self.typed_default
        return self.parse(self._choice(text)) if self.choices else self.parse(text)

    def _choice(self, text: str) -> str:
        values = [each.value for each in self.choices]
        meant = [each for each in values if each == text or each.startswith(text.lower())]
        if text in values or len(meant) == 1:
            return text if text in values else meant[0]
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= len(values):
            last = len(values)
            raise ValueError(f"answer with {'1' if last == 1 else f'a number from 1 to {last}'}")
        return values[int(text) - 1]

    @property
    def typed_default(self) -> str:
        """The default as it would be typed."""
        values = [each.value for each in self.choices]
        if self.default in values:
            return str(values.index(self.default) + 1)
        return self.default or ""


def choice_of(question: Question, value: str) -> Choice | None:
    return next((each for each in question.choices if each.value == value), None)


def yes_or_no(text: str) -> str:
    known = {"y": "yes", "yes": "yes", "n": "no", "no": "no"}
    if text.lower() not in known:
        raise ValueError("answer with yes or no")
    return known[text.lower()]


class Dialogue:
    """`steps`: each makes its question from the answers so far, or None where there is nothing to ask."""

    def __init__(self, steps: Sequence[Callable[[Answers], Question | None]]) -> None:
        self._steps = steps
        self._trail: list[str] = []
        self._remembered: dict[str, str] = {}

    @property
    def answers(self) -> dict[str, str]:
        return {key: self._remembered[key] for key in self._trail}

    @property
    def question(self) -> Question | None:
        """The next one; None when all have been answered. What was answered once is its default."""
        given = self.answers
        for step in self._steps:
            asked = step(given)
            if asked and asked.key not in given:
                return self._with_former_answer(asked)
        return None

    @property
    def number(self) -> int:
        return len(self._trail) + 1

    def answer(self, typed: str) -> None:
        asked = self.question
        if asked is None:
            raise RuntimeError("all questions have been answered")
        value = asked.value(typed)
        if value == "no" and asked.no_leads_to:
            self.back_to(asked.no_leads_to)
            return
        self._trail.append(asked.key)
        self._remembered[asked.key] = value

    def back(self) -> bool:
        """False at the first question."""
        return bool(self._trail) and bool(self._trail.pop())

    def back_to(self, key: str) -> None:
        self._trail = self._trail[: self._trail.index(key)]

    def _with_former_answer(self, asked: Question) -> Question:
        former = self._remembered.get(asked.key)
        if former is None or (asked.choices and not choice_of(asked, former)) or asked.no_leads_to:
            return asked
        return replace(asked, default=former)


def heading(number: int) -> str:
    left, right = f"-- {number} " if number else "-", " back: to the question before   Ctrl-C: leave --"
    return left + "-" * (WIDTH - len(left) - len(right)) + right


def screen(asked: Question, number: int) -> str:
    """All of a question but its prompt, 80 columns wide at most."""
    lines = ["", heading(number), *wrap(asked.title, WIDTH)]
    for paragraph in asked.words:
        lines += ["", *wrap(paragraph, WIDTH)]
    if asked.choices and not asked.nics:
        lines.append("")
        for index, each in enumerate(asked.choices, 1):
            lines += wrap(each.label, WIDTH, initial_indent=f"{index:>3}  ", subsequent_indent=" " * 5)
    return "\n".join([*lines, ""])


def complaint(error: Exception) -> str:
    return fitted(str(error), indent="  ")


def fitted(text: str, indent: str = "") -> str:
    lines = (wrap(line, WIDTH, initial_indent=indent, subsequent_indent=indent) for line in text.splitlines())
    return "\n".join(part for line in lines for part in line)


def pages(text: str, height: int) -> list[str]:
    """Cut to fit a console that cannot scroll back."""
    lines = text.splitlines()
    size = max(height - 2, 5)
    return ["\n".join(lines[at : at + size]) for at in range(0, len(lines), size)]


def prompt(asked: Question) -> str:
    label = asked.prompt or ("Number" if asked.choices else "Answer")
    return f"{label} [{asked.typed_default}]: " if asked.default else f"{label}: "
