"""`collector metrics` and the agent's /metrics are what Prometheus expects: the names and labels that
docs/operations.md explains, and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from pyroute2.iproute import IPRoute

from collector.control.metrics import Exposition
from collector.operate.lab import wait_for
from tests.lib.agent import Agent, agent_of
from tests.lib.box import Box
from tests.lib.call import call
from tests.lib.exposition import Family, samples, shape
from tests.lib.prometheus import assert_clean
from tests.lib.receiver import listening
from tests.lib.tap import send

REASONS = (
    "malformed", "loop", "unknown_vni", "oversize", "outer_fragment", "no_route", "neighbour", "egress",
    "no_memory", "unsupported",
)  # fmt: skip
WHERES = ("receive", "receive_missed", "receive_error", "transmit", "transmit_error")
SOURCE, TMETER = {"source": "pbx"}, {"tmeter": "ohio"}
SCRAPE = 0.020  # seconds of work that a scrape may cost
TRIES = 20

# Every metric: its type, and the labels of each sample.
ALWAYS: dict[str, Family] = {
    "collector_source_frames_total": ("counter", [SOURCE]),
    "collector_source_bytes_total": ("counter", [SOURCE]),
    "collector_source_passed_frames_total": ("counter", [SOURCE]),
    "collector_source_last_frame_timestamp_seconds": ("gauge", [SOURCE]),
    "collector_source_last_sip_timestamp_seconds": ("gauge", [SOURCE]),
    "collector_source_last_rtp_timestamp_seconds": ("gauge", [SOURCE]),
    "collector_source_up": ("gauge", [SOURCE]),
    "collector_source_info": (
        "gauge", [{"source": "pbx", "type": "span", "interface": "eth1", "hook": "xdp-native"}]
    ),
    "collector_dropped_frames_total": (
        "counter", [{"source": "pbx", "reason": reason} for reason in REASONS]
    ),
    "collector_tmeter_frames_total": ("counter", [TMETER]),
    "collector_tmeter_bytes_total": ("counter", [TMETER]),
    "collector_tmeter_oversize_frames_total": ("counter", [TMETER]),
    "collector_tmeter_up": ("gauge", [TMETER]),
    "collector_tmeter_path_mtu_bytes": ("gauge", [TMETER]),
    "collector_tmeter_probe_round_trip_seconds": ("gauge", []),
    "collector_tmeter_path_errors_total": ("counter", []),
    "collector_nic_dropped_frames_total": (
        "counter", [{"interface": name, "where": where} for name in ("eth1", "eth0") for where in WHERES]
    ),
    "collector_nic_allowance_exceeded_total": ("counter", []),
    "collector_healthy": ("gauge", [{}]),
    "collector_config_last_apply_success": ("gauge", [{}]),
    "collector_config_info": ("gauge", [{"hash": "?"}]),
    "collector_applies_total": ("counter", [{}]),
    "collector_apply_failures_total": ("counter", [{}]),
    "collector_drift_repairs_total": ("counter", [{}]),
    "collector_clock_synchronized": ("gauge", [{}]),
    "collector_clock_estimated_error_seconds": ("gauge", [{}]),
    "collector_build_info": ("gauge", [{"version": "?"}]),
    "collector_scrape_errors_total": ("counter", [{}]),
}  # fmt: skip
OF_THE_AGENT: dict[str, Family] = {
    "collector_config_file_in_use": ("gauge", [{}]),
    "collector_tmeter_probe_round_trip_seconds": ("gauge", [TMETER]),
    "process_virtual_memory_bytes": ("gauge", [{}]),
    "process_resident_memory_bytes": ("gauge", [{}]),
    "process_start_time_seconds": ("gauge", [{}]),
    "process_cpu_seconds_total": ("counter", [{}]),
    "process_open_fds": ("gauge", [{}]),
    "process_max_fds": ("gauge", [{}]),
}
OF_EVERY_HOST = {name for name, (_, labels) in ALWAYS.items() if labels == [{}]} | {"collector_build_info"}
LAST = "collector_source_last_{}_timestamp_seconds"


@pytest.fixture
def agent(box: Box) -> Iterator[Agent]:
    """It runs, and its probe has been answered."""
    with agent_of(box) as agent:
        agent.start()
        agent.becomes(lambda status: status["t_meters"][0]["round_trip_seconds"] is not None, "an answer")
        yield agent


def send_a_call(box: Box) -> None:
    send(box.switch, "span0", call())


def page(agent: Agent) -> str:
    status, body = agent.get("/metrics")
    assert status == 200
    return body


def value(exposition: str, name: str, **labels: str) -> float:
    return samples(exposition)[name, tuple(sorted(labels.items()))]


def settled(read: Callable[[], str], frames: int) -> str:
    wait_for(lambda: value(read(), "collector_source_frames_total", source="pbx") >= frames, "the frames")
    return read()


def test_names_types_and_labels_by_the_command(box: Box) -> None:
    box.good("apply")
    send_a_call(box)
    assert shape(settled(lambda: box.good("metrics"), len(call()))) == ALWAYS


def test_names_types_and_labels_over_http(box: Box, agent: Agent) -> None:
    with listening(box.tmeter):
        send_a_call(box)
        assert shape(settled(lambda: page(agent), len(call()))) == ALWAYS | OF_THE_AGENT


def test_prometheus_finds_nothing_to_complain_of(box: Box) -> None:
    assert_clean(box.good("metrics"))
    box.good("apply")
    assert_clean(box.good("metrics"))


def test_prometheus_finds_nothing_to_complain_of_over_http(box: Box, agent: Agent) -> None:
    send_a_call(box)
    assert_clean(page(agent))


def test_the_figures(box: Box) -> None:
    box.good("apply")
    assert [box.forwarded(size) for size in (100, 200)] == [12, 12]
    found = samples(box.good("metrics"))
    named = {(name, labels): each for (name, labels), each in found.items() if "timestamp" not in name}
    of_source, of_tmeter = (("source", "pbx"),), (("tmeter", "ohio"),)
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("collector_source_frames_total", of_source): 2,
        ("collector_source_bytes_total", of_source): 300,
        ("collector_source_passed_frames_total", of_source): 0,
        ("collector_source_up", of_source): 1,
        ("collector_tmeter_frames_total", of_tmeter): 2,
        ("collector_tmeter_bytes_total", of_tmeter): 300,
        ("collector_tmeter_oversize_frames_total", of_tmeter): 0,
        ("collector_tmeter_up", of_tmeter): 1,
        ("collector_tmeter_path_mtu_bytes", of_tmeter): 1500,
        ("collector_healthy", ()): 1,
        ("collector_config_last_apply_success", ()): 1,
        ("collector_applies_total", ()): 1,
        ("collector_apply_failures_total", ()): 0,
        ("collector_drift_repairs_total", ()): 0,
        ("collector_scrape_errors_total", ()): 0,
    }
    assert {key: named[key] for key in expected} == expected
    assert sum(each for (name, _), each in found.items() if name == "collector_dropped_frames_total") == 0
    age = time.time() - found[LAST.format("frame"), of_source]
    assert 0 <= age < 60


def test_what_is_too_large_and_dropped_is_in_both_counters(box: Box) -> None:
    box.write(("address: 192.0.2.2", "address: 192.0.2.2, oversize: drop"))
    box.good("apply")
    send(box.switch, "span0", [bytes.fromhex("020000000002 020000000001 88b5").ljust(1514, b"\0")])
    found = settled(lambda: box.good("metrics"), 1)
    assert value(found, "collector_tmeter_oversize_frames_total", tmeter="ohio") == 1
    assert value(found, "collector_dropped_frames_total", source="pbx", reason="oversize") == 1
    assert value(found, "collector_tmeter_frames_total", tmeter="ohio") == 0


def test_a_t_meter_that_does_not_listen(box: Box, agent: Agent) -> None:
    """Its kernel says so, by ICMP."""

    def counted() -> bool:
        send_a_call(box)
        kind, labels = shape(page(agent))["collector_tmeter_path_errors_total"]
        assert kind == "counter"
        return labels == [{"tmeter": "ohio", "kind": "port_unreachable"}]

    wait_for(counted, "the ICMP errors")


def test_the_path_is_as_wide_as_its_route(box: Box) -> None:
    box.host.run(["ip", "route", "replace", "192.0.2.0/24", "dev", "eth0", "src", "192.0.2.1", "mtu", "1400"])
    box.good("apply")
    assert value(box.good("metrics"), "collector_tmeter_path_mtu_bytes", tmeter="ohio") == 1400


def test_before_the_first_frame_there_is_no_time_of_the_last(box: Box) -> None:
    box.good("apply")
    lasts: dict[str, Family] = {LAST.format(kind): ("gauge", []) for kind in ("frame", "sip", "rtp")}
    assert shape(box.good("metrics")) == ALWAYS | lasts


def test_a_blank_one_exposes_what_it_can(box: Box) -> None:
    """Every family is there; those of sources, t-meters, NICs and the configuration without samples."""
    assert shape(box.good("metrics")) == {
        name: (kind, labels if name in OF_EVERY_HOST and name != "collector_config_info" else [])
        for name, (kind, labels) in ALWAYS.items()
    }


# When the last of them came


def lasts(exposition: str) -> dict[str, float]:
    found = samples(exposition)
    named = {kind: (LAST.format(kind), (("source", "pbx"),)) for kind in ("frame", "sip", "rtp")}
    return {kind: found[name] for kind, name in named.items() if name in found}


def sip_of_the_call() -> list[bytes]:
    return [frame for frame in call() if b"SIP/2.0" in frame]


def rtp_of_the_call() -> list[bytes]:
    return [frame for frame in call() if b"SIP/2.0" not in frame]


def moved_by(box: Box, agent: Agent, frames: list[bytes]) -> set[str]:
    """Which of the times are now later than `frames` were sent; the others are what they were."""
    before, start = page(agent), time.time()
    send(box.switch, "span0", frames)
    count = value(before, "collector_source_frames_total", source="pbx") + len(frames)
    after = lasts(settled(lambda: page(agent), int(count)))
    moved = {kind for kind, at in after.items() if at > start - 0.02}  # the kernel's clock is a coarse one
    for kind in set(after) - moved:
        assert after[kind] == pytest.approx(lasts(before)[kind], abs=0.015)
    return moved


def test_sip_and_rtp_move_their_own_times(box: Box, agent: Agent) -> None:
    assert lasts(page(agent)) == {}
    assert moved_by(box, agent, [bytes.fromhex("020000000002 020000000001 88b5") + bytes(46)]) == {"frame"}
    assert moved_by(box, agent, sip_of_the_call()) == {"frame", "sip"}
    assert moved_by(box, agent, rtp_of_the_call()) == {"frame", "rtp"}
    assert moved_by(box, agent, call()) == {"frame", "sip", "rtp"}


def test_by_the_ports_in_the_file(box: Box, agent: Agent) -> None:
    """A changed file changes which they are, and forgets nothing."""
    assert moved_by(box, agent, call()) == {"frame", "sip", "rtp"}
    ports = 'telephony: {sip: [5070], rtp: ["30000-30010"]}\nt_meters'
    box.write(("t_meters", ports))
    agent.hang_up()
    agent.says("replace the program")
    assert moved_by(box, agent, call()) == {"frame"}
    box.write(("t_meters", "telephony: {sip: [9000-9002], rtp: [5060]}\nt_meters"))
    agent.hang_up()
    agent.says("replace the program")
    assert moved_by(box, agent, rtp_of_the_call()) == {"frame", "sip"}
    assert moved_by(box, agent, sip_of_the_call()) == {"frame"}  # no RTP by its first bytes


# The rest


def test_the_hash_is_the_configurations(box: Box) -> None:
    def digest() -> str:
        (found,) = re.findall(
            r'^collector_config_info\{hash="(\w+)"\} 1\.0$', box.good("metrics"), re.MULTILINE
        )
        return str(found)

    box.good("apply")
    first = digest()
    box.write(("vni: 12", "vni: 13"))
    assert digest() == first
    box.good("apply")
    second = digest()
    assert second != first
    box.write()
    box.file.write_text("# words change nothing\n" + box.file.read_text())
    box.good("apply")
    assert digest() == first


def test_the_t_meters_next_hop_does_not_answer(box: Box) -> None:
    box.tmeter.down("eth0")
    box.quick("apply")
    assert value(box.good("metrics"), "collector_tmeter_up", tmeter="ohio") == 0


def test_a_file_that_cannot_be_used(box: Box, agent: Agent) -> None:
    assert value(page(agent), "collector_config_file_in_use") == 1
    box.write(("vni: 12", "vin: 12"))
    agent.hang_up()
    wait_for(lambda: value(page(agent), "collector_config_file_in_use") == 0, "the file's refusal")
    box.write()
    agent.hang_up()
    wait_for(lambda: value(page(agent), "collector_config_file_in_use") == 1, "the file's return")


def test_two_sources_are_two_series(box: Box) -> None:
    box.write(("t_meters", "  - {name: aws, type: vxlan, interface: eth0}\nt_meters"))
    box.good("apply")
    kind, labels = shape(box.good("metrics"))["collector_source_frames_total"]
    assert (kind, labels) == ("counter", [{"source": "pbx"}, {"source": "aws"}])


def test_a_source_whose_cable_is_out(box: Box) -> None:
    box.good("apply")
    box.switch.down("span0")
    found = box.good("metrics")
    assert value(found, "collector_source_up", source="pbx") == 0
    assert value(found, "collector_healthy") == 0


@pytest.mark.parametrize("senders", [0, 64])
@pytest.mark.parametrize("sources", [1, 64])
def test_a_scrape_is_cheap(box: Box, sources: int, senders: int) -> None:
    """Its own work is measured, which is the same however busy the machine is; and the best of several."""
    networks = ", ".join(f"10.0.{number}.0/24" for number in range(senders))
    tunnels = "".join(
        f"  - {{name: s{number}, type: vxlan, interface: eth0, port: {5000 + number}, from: [{networks}]}}\n"
        for number in range(1, sources)
    )
    box.write(("t_meters", f"{tunnels}t_meters"))
    box.good("apply")
    with box.host.enter():
        exposition = Exposition(box.instance, partial(IPRoute, ext_ack=True), process=True)
        took = [_work(exposition.page) for _ in range(TRIES)]
    assert min(took) < SCRAPE


def _work(function: Callable[[], object]) -> float:
    before = time.thread_time()
    function()
    return time.thread_time() - before
