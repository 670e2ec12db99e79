"""The commands that only look. Each is one call into `control`."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import click

from collector.options import Options, as_json_option, connected, print_json, read, warn


@click.command()
@as_json_option
@click.pass_obj
def check(options: Options, as_json: bool) -> None:
    """Say whether the file is right, and fits this host. Changes nothing.

    \b
    Example:
      collector -c collector.yaml check
    """
    from collector.control.config import load_file

    load_file(options.file)
    with connected() as netlink:
        file, _host, warnings = read(options, netlink)
    if as_json:
        print_json({"file": str(options.file), "warnings": list(warnings)})
        return
    warn(warnings)
    count = len(file.config.sources)
    click.echo(f"{options.file}: good, {count} source{'' if count == 1 else 's'}")


@click.command()
@as_json_option
@click.pass_obj
def plan(options: Options, as_json: bool) -> None:
    """Print what `apply` would change. Changes nothing.

    \b
    Example:
      collector plan
    """
    from collector.control.plan import plan as make_plan

    with connected() as netlink:
        file, host, warnings = read(options, netlink)
    changes = [each.describe() for each in make_plan(file.config, host).changes]
    if as_json:
        print_json({"changes": changes, "warnings": list(warnings)})
        return
    warn(warnings)
    click.echo("\n".join(changes) or "nothing to change")


@click.command()
@as_json_option
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
    with connected() as netlink:
        report = show.measure(options.instance, netlink, interval)
    if as_json:
        print_json(report.to_json())
    else:
        show.print_status(report)
    if not report.status.healthy:
        sys.exit(1)


@click.command()
@as_json_option
@click.pass_obj
def interfaces(options: Options, as_json: bool) -> None:
    """List the NICs of this host, and the hook each can take.

    \b
    Example:
      collector interfaces
    """
    from collector.control import show

    with connected() as netlink:
        rows = show.read_interfaces(options.instance, netlink)
    if as_json:
        print_json({"interfaces": [row.to_json() for row in rows]})
    else:
        show.print_interfaces(rows)


@click.command()
@click.pass_obj
def metrics(options: Options) -> None:
    """Print the Prometheus metrics once.

    \b
    Example:
      collector metrics | grep dropped
    """
    from collector.control.host import read_host
    from collector.control.metrics import Exposition

    with connected() as netlink:
        read_host(
            netlink, options.instance, None
        )  # what is wrong is an error here, and a count for Prometheus
        page = Exposition(options.instance, lambda: nullcontext(netlink), process=False).page()
    click.echo(page, nl=False)


@click.command()
@click.option("--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True,
              metavar="SECONDS", help="Read anew so often.")  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Leave after N readings.")
@click.pass_obj
def top(options: Options, interval: float, count: int | None) -> None:
    """Show what flows now, by source, t-meter and drop reason.

    On a terminal it fills the window; q or Ctrl-C leaves. Elsewhere it prints one
    reading after the other. It only looks: frames flow on without it.

    \b
    Examples:
      collector top
      collector top --interval 10 --count 3 | tee rates.txt
    """
    from collector.control.top import show_top

    show_top(options.instance, interval, count)
