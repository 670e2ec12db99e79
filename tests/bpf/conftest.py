"""One site for the whole tier: to load a program takes milliseconds, to build namespaces much longer."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lib.datapath import HOOKS, Hook, Site
from tests.lib.lanes import own_cpu


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {own_cpu()})  # per-CPU counters of the program become predictable
        with Site() as site, site.machine.enter():  # else each run would pay for coming and going
            yield site
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.fixture(scope="module", autouse=True)
def loaded(site: Site) -> Iterator[None]:
    """Programs serve the tests of one file."""
    yield
    site.unload()


@pytest.fixture(params=HOOKS)
def hook(request: pytest.FixtureRequest) -> Hook:
    hook: Hook = request.param
    return hook
