"""From the answers to what will be written: the configuration file, network files, a key."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from collector.control.config import ConfigFile, load_text
from collector.operate.setup import addressing, arrival, network
from collector.operate.setup.dialogue import Answers
from collector.operate.setup.facts import Facts
from collector.operate.setup.keys import PublicKey, parse_key
from collector.operate.setup.written import write

_OF_EVERY_TYPE = ("name", "hook", "vlan")
DEFAULT_SOURCE, DEFAULT_T_METER = "pbx", "t-meter"


@dataclass(frozen=True)
class Wanted:
    """`network`: texts by file name, without what puts it in order."""

    file: ConfigFile
    nic: str
    own_nic: str = ""
    static: network.Static | None = None
    network: Mapping[str, str] = field(default_factory=dict)
    key: PublicKey | None = None

    @property
    def text(self) -> str:
        return self.file.document.text

    @property
    def is_mirror(self) -> bool:
        return self.network.get(network.MIRROR) == network.mirror_file(self.nic)

    @property
    def moves(self) -> bool:
        """This machine's own address changes."""
        return network.MANAGEMENT in self.network


def wanted(facts: Facts, answers: Answers) -> Wanted:
    """InputError where the answers make no configuration that is right."""
    data = configuration(facts, answers)
    text = facts.text if facts.text and data == facts.data else write(data)
    own = addressing.management_nic(facts, answers)
    key = answers.get("key", "-")
    return Wanted(
        file=load_text(text, str(facts.file)),
        nic=arrival.chosen_nic(facts, answers),
        own_nic=own.name if own else "",
        static=_static(answers),
        network=_network(facts, answers),
        key=None if key == "-" else parse_key(key),
    )


def configuration(facts: Facts, answers: Answers) -> dict[str, Any]:
    """The file's data with the answers in it; what was not asked for stays."""
    data = deepcopy(facts.data) or {"version": 1}
    sources, t_meters = data.get("sources") or [{}], data.get("t_meters") or [{}]
    index = int(answers.get("source", "0"))
    sources[index] = _source(facts, answers, sources[index])
    t_meters[0] = _t_meter(answers, t_meters[0])
    return {**data, "sources": sources, "t_meters": t_meters}


def _source(facts: Facts, answers: Answers, former: Mapping[str, Any]) -> dict[str, Any]:
    kind = answers.get("tunnel", "span")
    keys = former if former.get("type") == kind else {k: former[k] for k in _OF_EVERY_TYPE if k in former}
    source = {"name": DEFAULT_SOURCE, **keys, "type": kind}
    nic = arrival.chosen_nic(facts, answers)
    if facts.nic_of(dict(former)) != nic:
        source["interface"] = nic
    source.setdefault("interface", former.get("interface", nic))
    if answers["vni"] != "map":
        source["vni"] = _number(answers["vni"])
    _share(source, answers["how"] == "shared")
    return source


def _share(source: dict[str, Any], shared: bool) -> None:
    if shared:
        source["shared"] = True
    elif source.get("shared"):
        del source["shared"]


def _t_meter(answers: Answers, former: Mapping[str, Any]) -> dict[str, Any]:
    probe = f"tcp:{answers['tcp_port']}" if answers["probe"] == "tcp" else answers["probe"]
    found = {"name": DEFAULT_T_METER, **former, "address": answers["t_meter"]}
    if probe != former.get("probe", "icmp"):
        found["probe"] = probe
    return found


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _static(answers: Answers) -> network.Static | None:
    if answers.get("method") != "static":
        return None
    gateway, dns = ("" if answers[key] == "none" else answers[key] for key in ("gateway", "dns"))
    return network.Static(answers["address"], gateway, tuple(dns.split()))


def _network(facts: Facts, answers: Answers) -> dict[str, str]:
    """Those that change something."""
    found = {}
    own, mirror = addressing.management_nic(facts, answers), facts.nic(arrival.chosen_nic(facts, answers))
    if own and answers.get("method", "keep") != "keep":
        found[network.MANAGEMENT] = network.management_file(own.name, _static(answers))
    if mirror and mirror.network_file is not None:
        quiet = network.mirror_file(mirror.name)
        if answers["how"] == "span" and mirror.settings != quiet:
            found[network.MIRROR] = quiet
        elif answers["how"] != "span" and mirror.settings == quiet:  # a mirror port no more
            found[network.MIRROR] = network.management_file(mirror.name, None)
    return found
