"""The ways to forward that are held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.afpacket import python_forwarder
from tests.bench.product import product
from tests.bench.recipe import vendors_recipe
from tests.bench.rig import Rig, Way


@contextmanager
def _limit(rig: Rig) -> Iterator[None]:
    """The least that forwards at all: no outer packet, no counting."""
    link = rig.attach_to_source("redirect")
    yield
    del link


LIMIT = Way("limit", "pure XDP redirect (the limit)", _limit, encapsulates=False)
XDP = Way("xdp", "collector at XDP", product("span", "xdp"))
TC = Way("tc", "collector at tc", product("span", "tc"))
REWRAP = Way("rewrap", "collector, rewrap at XDP", product("vxlan", "xdp"), mirror="vxlan")
RECIPE = Way("recipe", "vendor's recipe", vendors_recipe)
AF_PACKET = Way("afpacket", "AF_PACKET in Python", python_forwarder, shares_cpu=True, patience=3)

WAYS = {way.name: way for way in (LIMIT, XDP, TC, REWRAP, RECIPE, AF_PACKET)}
COLLECTOR_WAYS = (XDP, TC, REWRAP)
