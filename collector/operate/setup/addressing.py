"""Questions about this machine itself: its own address, and who may log in."""

from __future__ import annotations

from ipaddress import ip_interface

from collector.operate.setup import arrival
from collector.operate.setup.dialogue import Answers, Choice, Question
from collector.operate.setup.facts import Facts, NicFacts
from collector.operate.setup.keys import parse_key
from collector.operate.setup.network import by_dhcp, parse_address, parse_dns, parse_gateway, read_static


def own_nic(facts: Facts, answers: Answers) -> Question | None:
    """Asked where nothing tells it: no default route and no address."""
    candidates = _candidates(facts, answers)
    if facts.default_nic or len(candidates) < 2 or any(each.addresses for each in candidates):
        return None
    if not any(each.network_file is not None for each in candidates):
        return None
    linked = next((each.name for each in candidates if each.link), candidates[0].name)
    return Question(
        "own_nic",
        "Which NIC is the way to this machine, and to the t-meter?",
        choices=tuple(Choice(each.name, f"{each.name}  {each.mac}") for each in candidates),
        default=linked,
    )


def _candidates(facts: Facts, answers: Answers) -> list[NicFacts]:
    mirror = arrival.chosen_nic(facts, answers) if answers.get("how") == "span" else ""
    return [each for each in facts.nics if each.name != mirror]


def management_nic(facts: Facts, answers: Answers) -> NicFacts | None:
    candidates = _candidates(facts, answers)
    wanted = answers.get("own_nic") or facts.default_nic
    named = next((each for each in candidates if each.name == wanted), None)
    return named or next(
        (each for each in candidates if each.addresses), candidates[0] if candidates else None
    )


def method(facts: Facts, answers: Answers) -> Question | None:
    here = management_nic(facts, answers)
    if here is None or here.network_file is None:
        return None
    dhcp = by_dhcp(here.settings)
    address = ", ".join(here.addresses) or "no address"
    words = [f"{here.name} has {address}{' by DHCP' if dhcp and here.addresses else ''}."]
    if facts.over_ssh:
        words.append(
            "If you are here by SSH, another address ends this session: log in at the new one and run "
            "collector setup there, which asks whether to keep it. Without that it is taken back."
        )
    ways = [Choice("keep", "leave it as it is"), Choice("static", "a fixed address")]
    if not dhcp:
        ways.append(Choice("dhcp", "by DHCP"))
    title = "How does this machine get its own address?"
    return Question("method", title, tuple(words), choices=tuple(ways), default="keep")


def address(facts: Facts, answers: Answers) -> Question | None:
    if answers.get("method") != "static":
        return None
    here = management_nic(facts, answers)
    return Question(
        "address",
        "Which address shall this machine have?",
        words=("With the length of its network, such as 192.0.2.10/24 (24 is 255.255.255.0).",),
        prompt="Address",
        default=here.addresses[0] if here and here.addresses else None,
        parse=parse_address,
    )


def gateway(facts: Facts, answers: Answers) -> Question | None:
    own = answers.get("address")
    if own is None:
        return None
    here = management_nic(facts, answers)
    now = read_static(here.settings) if here else None
    network = ip_interface(own).network
    first = str(network.network_address + 1) if network.num_addresses > 2 else "none"
    known = now.gateway if now and now.address == own else ""
    return Question(
        "gateway",
        "Which router leads out of that network?",
        words=("Its address, or none.",),
        prompt="Gateway",
        default=known
        or (first if first != str(ip_interface(own).ip) and network.num_addresses > 2 else "none"),
        parse=lambda text: parse_gateway(text, own),
    )


def dns(facts: Facts, answers: Answers) -> Question | None:
    if "gateway" not in answers:
        return None
    here = management_nic(facts, answers)
    now = read_static(here.settings) if here else None
    return Question(
        "dns",
        "Which name servers (DNS) shall it ask?",
        words=("Addresses with spaces between them, or none.",),
        prompt="DNS",
        default=" ".join(now.dns) if now and now.dns else "none",
        parse=parse_dns,
    )


def key(facts: Facts, _answers: Answers) -> Question | None:
    if not facts.admin:
        return None
    return Question(
        "key",
        f"An SSH key for the user {facts.admin}?",
        words=("Paste the one line of your public key (its file ends in .pub), or - for none.",),
        prompt="Key",
        default="-",
        parse=lambda text: text if text == "-" else parse_key(text).line,
    )
