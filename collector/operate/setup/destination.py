"""Questions about the t-meter, and the consent to send there."""

from __future__ import annotations

from collector.errors import HostError
from collector.operate.setup import arrival
from collector.operate.setup.dialogue import Answers, Choice, Question, yes_or_no
from collector.operate.setup.facts import Facts
from collector.operate.setup.values import (
    is_private,
    parse_t_meter,
    parse_tcp_port,
    parse_vni,
    parse_vni_or_keep,
)

DEFAULT_VNI = "12"
WITH_VNI = ("vxlan", "geneve", "erspan")  # their packets bring a VNI that can be kept

_SENT = (
    "What arrives at {1}, {0}, will be sent there: the phone calls, with who calls whom and every word "
    "that is said; and a small test packet every few seconds."
)
_NOT_HIDDEN = (
    "VXLAN does not hide it: whoever is on the way can listen. Where that must not be, use a VPN between "
    "this network and the t-meter's."
)
_VNI = (
    "The VNI is a number that goes with every frame; the t-meter tells its senders apart by it. "
    "Take 12 unless the t-meter's owner names another."
)
PROBES = (
    Choice("icmp", "a ping"),
    Choice("tcp", "a TCP connection to a port of it"),
    Choice("none", "not at all"),
)


def t_meter(facts: Facts, _answers: Answers) -> Question:
    return Question(
        "t_meter",
        "Where is the t-meter?",
        words=("Its IP address, such as 203.0.113.10, or its host name.",),
        prompt="Address",
        default=str(facts.t_meter.get("address", "")) or None,
        parse=parse_t_meter,
    )


def consent(facts: Facts, answers: Answers) -> Question | None:
    """Somebody has to say yes before calls leave the private networks; a file that says so has said it."""
    name = answers.get("t_meter", "")
    if not name or name == str(facts.t_meter.get("address", "")).lower().rstrip("."):
        return None
    try:
        found = facts.look_up(name)
    except HostError:
        return _consent(facts, answers, f"{name}, whose address cannot be looked up now,")
    outside = [address for address in found if not is_private(address)]
    if not outside:
        return None
    where = name if str(outside[0]) == name else f"{name} ({outside[0]})"
    return _consent(facts, answers, where)


def _consent(facts: Facts, answers: Answers, where: str) -> Question:
    here = arrival.chosen_nic(facts, answers)
    what = "all of it" if answers.get("how") == "span" else "as far as it is mirrored"
    return Question(
        "consent",
        "May it be sent there?",
        words=(
            f"{where} is not in a private network. {_SENT.format(what, here)}",
            _NOT_HIDDEN,
        ),
        prompt="yes or no",
        default="no",
        parse=yes_or_no,
        no_leads_to="t_meter",
    )


def vni(facts: Facts, answers: Answers) -> Question:
    kind = answers.get("tunnel", "span")
    source = arrival.present(facts, answers)
    same = source.get("type") == kind
    now = source.get("vni", "keep" if kind in WITH_VNI else DEFAULT_VNI) if same else DEFAULT_VNI
    words = [_VNI]
    if kind in WITH_VNI:
        words.append("Or write keep, to send the one that the copies bring along.")
    if isinstance(now, dict):
        words.append("The file has a map of VNIs here: write map to leave it as it is.")
        now = "map"
    return Question(
        "vni", "Which VNI does the t-meter expect?", tuple(words), "VNI", default=str(now),
        parse=(lambda text: "map" if text == "map" and now == "map" else _parse_vni(kind, text)),
    )  # fmt: skip


def _parse_vni(kind: str, text: str) -> str:
    return parse_vni_or_keep(text) if kind in WITH_VNI else parse_vni(text)


def probe(facts: Facts, _answers: Answers) -> Question:
    return Question(
        "probe",
        "How shall the collector find out whether the t-meter is up?",
        words=("Frames are sent to it in any case.",),
        choices=PROBES,
        default=str(facts.t_meter.get("probe", "icmp")).partition(":")[0],
    )


def tcp_port(facts: Facts, answers: Answers) -> Question | None:
    if answers.get("probe") != "tcp":
        return None
    now = str(facts.t_meter.get("probe", "")).removeprefix("tcp:")
    return Question(
        "tcp_port", "Which TCP port of the t-meter answers?", prompt="Port",
        default=now if now.isdecimal() else "443", parse=parse_tcp_port,
    )  # fmt: skip
