"""Questions about where the mirrored frames arrive."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from collector.operate.setup.dialogue import Answers, Choice, Question, any_text
from collector.operate.setup.facts import Facts, NicFacts

HOW = (
    Choice("span", "on a NIC of their own: a mirror port (SPAN) of a switch, or of Hyper-V"),
    Choice("tunnel", "wrapped in packets, from a cloud (AWS, Azure, Oracle), router or switch"),
    Choice("shared", "on this machine's only NIC, beside its own traffic (Hyper-V, Google)"),
)
TUNNELS = (
    Choice("vxlan", "VXLAN: AWS, Azure, Oracle and Alibaba traffic mirroring"),
    Choice("geneve", "GENEVE: an AWS Gateway Load Balancer"),
    Choice("erspan", "ERSPAN: a switch or router elsewhere, such as Cisco's"),
    Choice("gre", "GRE"),
    Choice("tzsp", "TZSP: MikroTik"),
    Choice("ipip", "IP in IP: some session border controllers"),
)
_SHARING_DRIVERS = ("hv_netvsc", "gve")


def which_source(facts: Facts, _answers: Answers) -> Question | None:
    if len(facts.sources) < 2:
        return None
    listed = [
        Choice(str(index), f"{each.get('name')}, {each.get('type')} on {facts.nic_of(each) or '(no NIC)'}")
        for index, each in enumerate(facts.sources)
    ]
    return Question(
        "source",
        "Which source do you want to set up?",
        words=(f"{facts.file} has {len(listed)} sources. The others stay as they are.",),
        choices=tuple(listed),
        default="0",
    )


def present(facts: Facts, answers: Answers) -> dict[str, object]:
    """The source that is being set up, as the file has it; empty where it has none."""
    index = int(answers.get("source", "0"))
    return facts.sources[index] if index < len(facts.sources) else {}


def how(facts: Facts, answers: Answers) -> Question:
    return Question(
        "how",
        "How do the copies of the phone system's traffic arrive?",
        choices=HOW,
        default=_present_way(facts, answers) or _likely_way(facts),
    )


def _present_way(facts: Facts, answers: Answers) -> str:
    source = present(facts, answers)
    if not source:
        return ""
    return ("shared" if source.get("shared") else "span") if source["type"] == "span" else "tunnel"


def _likely_way(facts: Facts) -> str:
    if len(facts.nics) > 1:
        return "span"
    return "shared" if any(each.driver in _SHARING_DRIVERS for each in facts.nics) else "tunnel"


def tunnel(facts: Facts, answers: Answers) -> Question | None:
    if answers.get("how") != "tunnel":
        return None
    kind = present(facts, answers).get("type", "")
    return Question(
        "tunnel",
        "What are the copies wrapped in?",
        choices=TUNNELS,
        default=str(kind) if kind not in ("", "span") else "vxlan",
    )


def nic(facts: Facts, answers: Answers) -> Question | None:
    """Which NIC: asked where there is a choice."""
    way = answers.get("how")
    if way is None:
        return None
    known = facts.nic_of(present(facts, answers)) if way == _present_way(facts, answers) else ""
    if way == "span":
        return _mirror_nic(facts, known)
    if len(facts.nics) < 2:
        return None
    what = "the wrapped copies" if way == "tunnel" else "the copies, beside this machine's own traffic,"
    default = known or facts.default_nic or facts.nics[0].name
    return _nic_question(facts, f"Which NIC do {what} arrive at?", default, any_text)


def _mirror_nic(facts: Facts, known: str) -> Question:
    free = [each.name for each in facts.nics if not why_no_mirror(facts, each)]
    return _nic_question(
        facts,
        "Which NIC is plugged into the mirror port?",
        known or (free[0] if len(free) == 1 else None),
        partial(_free_nic, facts),
        "Plug the cable in or out now, or make a call: the counts show which it is.",
    )


def _nic_question(
    facts: Facts, title: str, default: str | None, parse: Callable[[str], str], *words: str
) -> Question:
    choices = tuple(Choice(each.name, each.name) for each in facts.nics)
    return Question("nic", title, words, choices=choices, default=default, parse=parse, nics=True)


def why_no_mirror(facts: Facts, here: NicFacts) -> str:
    """Where networkd sets the NIC up, an address that a mirror port has got by chance can be taken off."""
    others = any(each.addresses for each in facts.nics if each.name != here.name)
    if here.name == facts.default_nic or (here.addresses and not (here.network_file and others)):
        return "this machine's own"
    return ""


def _free_nic(facts: Facts, name: str) -> str:
    here = facts.nic(name)
    if here and why_no_mirror(facts, here):
        by = f" ({here.addresses[0]})" if here.addresses else ""
        raise ValueError(
            f"{name} carries this machine's own traffic{by}, and nobody would reach it any more; "
            "use another NIC, or go back and say that the copies arrive beside it"
        )
    return name


def chosen_nic(facts: Facts, answers: Answers) -> str:
    """Where there is one NIC only, it is not asked for."""
    return answers.get("nic") or (facts.nics[0].name if facts.nics else "")
