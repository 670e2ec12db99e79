"""The commands that change this host. Each is one call into `control`."""

from __future__ import annotations

import click

from collector.options import Options, changing, connected, read, warn


@click.command()
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

    with changing(options) as netlink:
        confirm.require_none(options.instance)
        file, host, warnings = read(options, netlink)
        warn(warnings)
        with confirm.within(options.instance, file, host, seconds):
            done = carry_out(file, options.instance, netlink, host.route)
        waits = confirm.waits(options.instance)
    warn(done.warnings)
    click.echo("\n".join(each.describe() for each in done.changes) or "nothing to change")
    if waits:
        click.echo(f"This is taken back in {seconds} s. To keep it: collector confirm")


@click.command()
@click.pass_obj
def confirm(options: Options) -> None:
    """Keep what `apply --confirm-within` made.

    \b
    Example:
      collector confirm
    """
    from collector.control.confirm import confirm as keep

    with changing(options):
        kept = keep(options.instance)
    click.echo("kept" if kept else "nothing waits to be confirmed")


@click.command()
@click.pass_obj
def remove(options: Options) -> None:
    """Take everything away, and put back what was there before.

    \b
    Example:
      collector remove
    """
    from collector.control.apply import apply as carry_out
    from collector.control.config import BLANK
    from collector.control.confirm import forget
    from collector.datapath.tmeter import NO_ROUTE

    with changing(options) as netlink:
        forget(options.instance)
        done = carry_out(BLANK, options.instance, netlink, NO_ROUTE)
    click.echo("\n".join(each.describe() for each in done.changes) or "there is nothing to remove")


@click.command()
@click.pass_obj
def run(options: Options) -> None:
    """Apply the file, then follow this host; systemd runs this.

    It watches interfaces, addresses, routes and the t-meter, and serves HTTP.
    Stopping it stops no frame. SIGHUP reads the file again.

    \b
    Example:
      collector run
    """
    from collector.control.agent import run as follow

    with connected() as netlink:
        follow(options.file, options.instance, netlink)


@click.command(hidden=True)
@click.argument("token")
@click.pass_obj
def guard(options: Options, token: str) -> None:
    """What `apply --confirm-within` leaves behind: takes it back in time."""
    from collector.control.confirm import guard as wait

    with connected() as netlink:
        wait(options.instance, token, netlink)
