"""What one reading becomes in Prometheus' text format, and what an unreadable kernel becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pyroute2.netlink.exceptions import NetlinkError

from collector.control.clock import Clock
from collector.control.families import Figures
from collector.control.metrics import KernelCollector
from collector.control.notes import Notes
from collector.control.observed import Observed
from collector.control.status import SourceStatus, Status, TMeterStatus
from collector.datapath.libbpf import BpfError
from collector.errors import HostError
from collector.version import version

PBX = SourceStatus(
    name="pbx", type="span", interface="eth1", hook="tc", why="", vni="12", frames=9, bytes=900,
    passed_frames=1, drops={"loop": 2, "egress": 0}, last_frame_age_seconds=0.5, last_sip_age_seconds=60,
    last_rtp_age_seconds=None, up=True,
)  # fmt: skip
OHIO = TMeterStatus(
    name="ohio", address="203.0.113.10", port=4789, up=False, why="", frames=7, bytes=700, path_mtu=1400,
    oversize_frames=3, round_trip_seconds=None, path_errors={"port_unreachable": 5, "prohibited": 1},
)  # fmt: skip
FIGURES = Figures(
    now=1000,
    status=Status("default", False, True, (), (PBX,), (OHIO,)),
    notes=Notes(digest="0123", failed=True, applies=4, failures=2, repairs=1),
    observed=None,
    nic_drops={"eth1": {"receive": 0, "receive_missed": 8}},
    allowances={"eth0": {"pps": 11, "bw_in": 12}, "eth1": {}},
    clock=Clock(False, 16.0, 16.0, 0.0),
)
EXPECTED = f"""\
collector_source_frames_total{{source="pbx"}} 9.0
collector_source_bytes_total{{source="pbx"}} 900.0
collector_source_passed_frames_total{{source="pbx"}} 1.0
collector_dropped_frames_total{{reason="loop",source="pbx"}} 2.0
collector_dropped_frames_total{{reason="egress",source="pbx"}} 0.0
collector_source_up{{source="pbx"}} 1.0
collector_source_info{{hook="tc",interface="eth1",source="pbx",type="span"}} 1.0
collector_source_last_frame_timestamp_seconds{{source="pbx"}} 999.5
collector_source_last_sip_timestamp_seconds{{source="pbx"}} 940.0
collector_tmeter_frames_total{{tmeter="ohio"}} 7.0
collector_tmeter_bytes_total{{tmeter="ohio"}} 700.0
collector_tmeter_oversize_frames_total{{tmeter="ohio"}} 3.0
collector_tmeter_up{{tmeter="ohio"}} 0.0
collector_tmeter_path_mtu_bytes{{tmeter="ohio"}} 1400.0
collector_tmeter_path_errors_total{{kind="port_unreachable",tmeter="ohio"}} 5.0
collector_tmeter_path_errors_total{{kind="prohibited",tmeter="ohio"}} 1.0
collector_nic_dropped_frames_total{{interface="eth1",where="receive"}} 0.0
collector_nic_dropped_frames_total{{interface="eth1",where="receive_missed"}} 8.0
collector_nic_allowance_exceeded_total{{allowance="pps",interface="eth0"}} 11.0
collector_nic_allowance_exceeded_total{{allowance="bw_in",interface="eth0"}} 12.0
collector_healthy 0.0
collector_config_last_apply_success 0.0
collector_config_info{{hash="0123"}} 1.0
collector_applies_total 4.0
collector_apply_failures_total 2.0
collector_drift_repairs_total 1.0
collector_clock_synchronized 0.0
collector_clock_estimated_error_seconds 16.0
collector_build_info{{version="{version()}"}} 1.0
collector_scrape_errors_total 0.0
"""


class Page:
    def __init__(self, read: Callable[[], Figures]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(KernelCollector(read))

    def samples(self) -> list[str]:
        lines = generate_latest(self._registry).decode().splitlines()
        return [line for line in lines if not line.startswith("#")]


def test_every_figure_is_in_its_place() -> None:
    assert Page(lambda: FIGURES).samples() == EXPECTED.splitlines()


@pytest.mark.parametrize(("file_error", "in_use"), [("", 1), ("it has an error", 0)])
def test_with_an_agent(file_error: str, in_use: int) -> None:
    figures = replace(FIGURES, observed=Observed(file_error=file_error))
    new = set(Page(lambda: figures).samples()) - set(EXPECTED.splitlines())
    assert new == {f"collector_config_file_in_use {in_use}.0"}


@pytest.mark.parametrize(("fallback", "fell_back"), [("", 0), ("went back", 1)])
def test_on_the_appliance(fallback: str, fell_back: int) -> None:
    new = set(Page(lambda: replace(FIGURES, fallback=fallback)).samples()) - set(EXPECTED.splitlines())
    assert new == {f"collector_update_fallback {fell_back}.0"}


@pytest.mark.parametrize(
    "error", [OSError("gone"), NetlinkError(19), BpfError(2, "reading a map"), HostError("elsewhere")]
)
def test_a_kernel_that_cannot_be_read_is_counted(error: Exception) -> None:
    failures = [error, error]

    def read() -> Figures:
        if failures:
            raise failures.pop()
        return FIGURES

    page = Page(read)
    version_line = EXPECTED.splitlines()[-2]
    assert page.samples() == [version_line, "collector_scrape_errors_total 1.0"]
    assert page.samples() == [version_line, "collector_scrape_errors_total 2.0"]
    assert page.samples()[-1] == "collector_scrape_errors_total 2.0"
    assert len(page.samples()) == len(EXPECTED.splitlines())
