"""What the commands have in common: their options, a netlink socket, the file held against this host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collector.errors import CollectorError

if TYPE_CHECKING:
    from pyroute2.iproute import IPRoute

    from collector.control.config import ConfigFile
    from collector.control.host import Host

DEFAULT_FILE = Path("/etc/collector/collector.yaml")


@dataclass(frozen=True)
class Options:
    file: Path
    instance: str


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@contextmanager
def connected() -> Iterator[IPRoute]:
    from pyroute2.iproute import IPRoute

    from collector.control.host import require_host

    require_host()
    with IPRoute(ext_ack=True) as netlink:
        yield netlink


@contextmanager
def changing(options: Options) -> Iterator[IPRoute]:
    """One command at a time changes this host; a failure is on record. The agent hears of it."""
    from collector.control.apply import note_failure
    from collector.control.lock import alone
    from collector.control.presence import call

    with connected() as netlink:
        with alone():
            try:
                yield netlink
            except CollectorError:
                note_failure(options.instance)
                raise
        call(options.instance)


def read(options: Options, netlink: IPRoute) -> tuple[ConfigFile, Host, tuple[str, ...]]:
    from collector.control.check import check as hold_against
    from collector.control.config import load_file
    from collector.control.host import read_host
    from collector.control.names import resolve
    from collector.datapath.tmeter import find_route

    file = load_file(options.file)
    host = read_host(netlink, options.instance, None)
    running = host.state.settings
    address = resolve(file.config, running.tmeter.address if running else None)
    if address:
        host = replace(host, route=find_route(netlink, address))
    return file, host, hold_against(file, host)


def print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2))


def warn(warnings: tuple[str, ...]) -> None:
    for words in warnings:
        click.echo(f"warning: {words}", err=True)
