"""The ways to forward that are held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.afpacket import python_forwarder
from tests.bench.product import Setup, product
from tests.bench.recipe import vendors_recipe
from tests.bench.rig import T_METER_IPV6, Rig, Way


@contextmanager
def _limit(rig: Rig) -> Iterator[None]:
    """The least that forwards at all: no outer packet, no counting."""
    link = rig.attach_to_source("redirect")
    yield
    del link


LIMIT = Way("limit", "pure XDP redirect (the limit)", _limit, encapsulates=False)
XDP = Way("xdp", "collector at XDP", product(Setup("span", "xdp")))
TC = Way("tc", "collector at tc", product(Setup("span", "tc")))
REWRAP = Way("rewrap", "collector, rewrap at XDP", product(Setup("vxlan", "xdp")), mirror="vxlan")
REWRAP_8 = Way(
    "rewrap8", "the same, 8 sources", product(Setup("vxlan", "xdp", sources=8)), mirror="vxlan", ports=8
)
GENEVE = Way("geneve", "rewrap from GENEVE at XDP", product(Setup("geneve", "xdp")), mirror="geneve")
ERSPAN = Way("erspan", "rewrap from ERSPAN at XDP", product(Setup("erspan", "xdp")), mirror="erspan")
IPV6 = Way(
    "ipv6",
    "collector at XDP, over IPv6",
    product(Setup("span", "xdp", t_meter=T_METER_IPV6)),
    t_meter=T_METER_IPV6,
)
IPV6_FAST = Way(
    "ipv6fast",
    "the same, no UDP checksum",
    product(Setup("span", "xdp", t_meter=T_METER_IPV6, udp_checksum=False)),
    t_meter=T_METER_IPV6,
)
RECIPE = Way("recipe", "vendor's recipe", vendors_recipe)
AF_PACKET = Way("afpacket", "AF_PACKET in Python", python_forwarder, shares_cpu=True, patience=3)

WAYS = {
    way.name: way
    for way in (LIMIT, XDP, TC, REWRAP, REWRAP_8, GENEVE, ERSPAN, IPV6, IPV6_FAST, RECIPE, AF_PACKET)
}
COLLECTOR_WAYS = (XDP, TC, REWRAP, REWRAP_8, GENEVE, ERSPAN, IPV6, IPV6_FAST)
# Those whose own cost is told: an outer packet over IPv6 has more to do, at any size.
COST_WAYS = (XDP, TC, REWRAP, GENEVE, ERSPAN, IPV6, IPV6_FAST)
