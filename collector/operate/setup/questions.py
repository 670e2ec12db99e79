"""What `collector setup` asks, in its order: each question from what is known and was answered so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from collector.operate.setup import addressing, arrival, destination
from collector.operate.setup.dialogue import Answers, Question
from collector.operate.setup.facts import Facts


def steps(facts: Facts) -> Sequence[Callable[[Answers], Question | None]]:
    asked = (
        arrival.which_source, arrival.how, arrival.tunnel, arrival.nic,
        addressing.own_nic, addressing.method, addressing.address, addressing.gateway, addressing.dns,
        destination.t_meter, destination.consent, destination.vni, destination.probe, destination.tcp_port,
        addressing.key,
    )  # fmt: skip
    return [partial(each, facts) for each in asked]
