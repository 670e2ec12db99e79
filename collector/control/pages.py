"""What the agent serves over HTTP: for Prometheus, for a load balancer, for a person in a hurry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CONTENT_TYPE_LATEST
from pyroute2.iproute import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from collector.control.http import Page
from collector.control.metrics import Exposition
from collector.control.status import Status, read_status
from collector.datapath.libbpf import BpfError
from collector.errors import CollectorError

PUBLIC = ("/healthz", "/readyz")
_PLAIN = "text/plain; charset=utf-8"


def of(instance: str) -> Mapping[str, Callable[[], Page]]:
    return {
        "/metrics": partial(_metrics, Exposition(instance, partial(IPRoute, ext_ack=True), process=True)),
        "/healthz": lambda: _answer(instance, unhealthy),
        "/readyz": lambda: _answer(instance, unready),
    }


def _metrics(exposition: Exposition) -> Page:
    return Page(200, CONTENT_TYPE_LATEST, exposition.page())


def _answer(instance: str, troubles: Callable[[Status], tuple[str, ...]]) -> Page:
    try:
        with IPRoute(ext_ack=True) as netlink:
            found = troubles(read_status(instance, netlink))
    except (CollectorError, BpfError, NetlinkError, OSError) as error:
        found = (f"could not read this host's state: {error}",)
    words = "\n".join(found) or "fine"
    return Page(503 if found else 200, _PLAIN, f"{words}\n".encode())


def unhealthy(status: Status) -> tuple[str, ...]:
    """Only what this host itself can mend: the data plane is not attached as configured."""
    return status.detached


def unready(status: Status) -> tuple[str, ...]:
    """Also what stands between this host and the t-meter."""
    down = tuple(f"t-meter {each.name}: {each.why}" for each in status.t_meters if not each.up)
    return (*status.detached, *(each for each in status.waiting if each not in status.detached), *down)
