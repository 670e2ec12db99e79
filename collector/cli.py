"""The command line: nouns read, verbs change. Each command is one call into `control` or `operate`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from collector.errors import CollectorError, InputError
from collector.version import version

if TYPE_CHECKING:
    from pyroute2 import IPRoute

    from collector.control.config import ConfigFile
    from collector.control.host import Host

DEFAULT_FILE = Path("/etc/collector/collector.yaml")


@dataclass(frozen=True)
class Options:
    file: Path
    instance: str


class _Commands(click.Group):
    """Commands that bring modules of their own are read when they are asked for: --help stays quick."""

    _elsewhere = ("demo", "sink", "top")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._elsewhere])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name == "sink":
            from collector.operate.sink import sink

            return sink
        if name == "demo":
            from collector.operate.demo import demo

            return demo
        if name == "top":
            from collector.control.top import top

            return top
        return super().get_command(ctx, name)


def _instance(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", value):
        raise click.BadParameter(f"{value!r} is not a name; use letters, digits, - and _, at most 63")
    return value


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.option("-c", "--config", "file", type=click.Path(path_type=Path), default=DEFAULT_FILE,
              show_default=True, help="The configuration file.")  # fmt: skip
@click.option("--instance", default="default", show_default=True, callback=_instance,
              help="Which collector, where several run on one host.")  # fmt: skip
@click.version_option(version(), prog_name="collector")
@click.pass_context
def main_group(context: click.Context, file: Path, instance: str) -> None:
    """Sends a copy of a phone system's traffic, as VXLAN, to a t-meter.

    \b
    The usual way:
      collector interfaces        which NIC gets the mirrored frames?
      collector check             is the file right?
      collector apply             make it so
      collector status            how does it go?
    """
    context.obj = Options(file, instance)


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@contextmanager
def _netlink() -> Iterator[IPRoute]:
    from pyroute2 import IPRoute

    from collector.control.host import require_host

    require_host()
    with IPRoute(ext_ack=True) as netlink:
        yield netlink


@contextmanager
def _changing(options: Options) -> Iterator[IPRoute]:
    """One command at a time changes this host; a failure is on record for the metrics."""
    from collector.control.apply import alone, note_failure

    with _netlink() as netlink, alone():
        try:
            yield netlink
        except CollectorError:
            note_failure(options.instance)
            raise


def _read(options: Options, netlink: IPRoute) -> tuple[ConfigFile, Host, tuple[str, ...]]:
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


def _print_json(value: dict[str, Any]) -> None:
    click.echo(json.dumps(value, indent=2))


def _warn(warnings: tuple[str, ...]) -> None:
    for words in warnings:
        click.echo(f"warning: {words}", err=True)


@main_group.command()
@_as_json
@click.pass_obj
def check(options: Options, as_json: bool) -> None:
    """Say whether the file is right, and fits this host. Changes nothing.

    \b
    Example:
      collector -c collector.yaml check
    """
    from collector.control.config import load_file

    load_file(options.file)
    with _netlink() as netlink:
        file, _host, warnings = _read(options, netlink)
    if as_json:
        _print_json({"file": str(options.file), "warnings": list(warnings)})
        return
    _warn(warnings)
    count = len(file.config.sources)
    click.echo(f"{options.file}: good, {count} source{'' if count == 1 else 's'}")


@main_group.command()
@_as_json
@click.pass_obj
def plan(options: Options, as_json: bool) -> None:
    """Print what `apply` would change. Changes nothing.

    \b
    Example:
      collector plan
    """
    from collector.control.plan import plan as make_plan

    with _netlink() as netlink:
        file, host, warnings = _read(options, netlink)
    changes = [each.describe() for each in make_plan(file.config, host).changes]
    if as_json:
        _print_json({"changes": changes, "warnings": list(warnings)})
        return
    _warn(warnings)
    click.echo("\n".join(changes) or "nothing to change")


@main_group.command()
@click.option("--confirm-within", "seconds", type=click.IntRange(5, 86400), metavar="SECONDS",
              help="Take it back after so long, unless `collector confirm` is run.")  # fmt: skip
@click.pass_obj
def apply(options: Options, seconds: int | None) -> None:
    """Make the kernel do what the file says; all of it, or nothing.

    Frames flow on while it changes, and after the command has ended. A second
    run changes nothing.

    \b
    Examples:
      collector apply && collector status
      collector apply --confirm-within 120
    """
    from collector.control import confirm
    from collector.control.apply import apply as carry_out

    with _changing(options) as netlink:
        confirm.require_none(options.instance)
        file, host, warnings = _read(options, netlink)
        _warn(warnings)
        with confirm.within(options.instance, host.netns, seconds):
            done = carry_out(file, options.instance, netlink, host.route)
    _warn(done.warnings)
    click.echo("\n".join(each.describe() for each in done.changes) or "nothing to change")
    if seconds and done.changes:
        click.echo(f"This is taken back in {seconds} s. To keep it: collector confirm")


@main_group.command()
@click.pass_obj
def confirm(options: Options) -> None:
    """Keep what `apply --confirm-within` made.

    \b
    Example:
      collector confirm
    """
    from collector.control.confirm import confirm as keep

    with _changing(options):
        kept = keep(options.instance)
    click.echo("kept" if kept else "nothing waits to be confirmed")


@main_group.command(hidden=True)
@click.argument("token")
@click.pass_obj
def guard(options: Options, token: str) -> None:
    """What `apply --confirm-within` leaves behind: takes it back in time."""
    from collector.control.confirm import guard as wait

    with _netlink() as netlink:
        wait(options.instance, token, netlink)


@main_group.command()
@click.pass_obj
def run(options: Options) -> None:
    """Apply the file, then follow what happens to this host. systemd runs this.

    Stopping it stops no frame. SIGHUP reads the file again.

    \b
    Example:
      systemctl status collector
    """
    from collector.control.agent import run as follow

    with _netlink() as netlink:
        follow(options.file, options.instance, netlink)


@main_group.command()
@click.pass_obj
def remove(options: Options) -> None:
    """Take everything away, and put back what was there before.

    \b
    Example:
      collector remove
    """
    from collector.control.apply import apply as carry_out
    from collector.control.config import BLANK
    from collector.datapath.tmeter import NO_ROUTE

    with _changing(options) as netlink:
        done = carry_out(BLANK, options.instance, netlink, NO_ROUTE)
    click.echo("\n".join(each.describe() for each in done.changes) or "there is nothing to remove")


@main_group.command()
@_as_json
@click.option("--interval", type=click.FloatRange(0, 60), default=None, metavar="SECONDS",
              help="Measure rates over so long. Default: 1, and 0 (no rates) with --json.")  # fmt: skip
@click.pass_obj
def status(options: Options, as_json: bool, interval: float | None) -> None:
    """Show what is attached where, frames in and out, drops and their reasons.

    Leaves with 1 when something is not as it was applied.

    \b
    Examples:
      collector status
      collector status --json | jq .healthy
    """
    from collector.control import show

    if interval is None:
        interval = 0.0 if as_json else 1.0
    with _netlink() as netlink:
        report = show.measure(options.instance, netlink, interval)
    if as_json:
        _print_json(report.to_json())
    else:
        show.print_status(report)
    if not report.status.healthy:
        sys.exit(1)


@main_group.command()
@_as_json
@click.pass_obj
def interfaces(options: Options, as_json: bool) -> None:
    """List the NICs of this host, and the hook each can take.

    \b
    Example:
      collector interfaces
    """
    from collector.control import show

    with _netlink() as netlink:
        rows = show.read_interfaces(options.instance, netlink)
    if as_json:
        _print_json({"interfaces": [row.to_json() for row in rows]})
    else:
        show.print_interfaces(rows)


@main_group.command()
@click.pass_obj
def metrics(options: Options) -> None:
    """Print the Prometheus metrics once.

    \b
    Example:
      collector metrics | grep dropped
    """
    from collector.control.metrics import Exposition

    with _netlink() as netlink:
        page = Exposition(options.instance, lambda: nullcontext(netlink), process=False).page()
    click.echo(page, nl=False)


def main() -> None:
    """What a user can mend goes to stderr without a traceback; a bug of ours keeps it."""
    try:
        main_group(prog_name="collector")
    except CollectorError as error:
        label = "" if isinstance(error, InputError) and ":" in error.what.split(" ")[0] else "collector: "
        click.echo(f"{label}{error}", err=True)
        sys.exit(error.exit_code)
