"""`collector update`: a new version beside the one that runs, and the way back."""

from __future__ import annotations

from pathlib import Path

import click

from collector.errors import InputError
from collector.options import as_json_option

REMOTE = ("http://", "https://")
restart_option = click.option("--reboot", "now", is_flag=True, help="Restart at once.")


class _Update(click.Group):
    """What is none of its commands is the bundle to install."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["install", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Update, subcommand_metavar="FILE|URL|COMMAND")
def update() -> None:
    """Install a new version of the appliance, beside the one that runs.

    It starts at the next restart. If it does not start, or is not well, the
    machine goes back to the version before by itself.

    \b
    Examples:
      collector update /media/collector-1.1.0.raucb
      collector update https://example.com/collector-1.1.0.raucb --reboot
      collector update status
      collector update rollback
    """


@update.command()
@click.argument("bundle", metavar="FILE|URL")
@restart_option
def install(bundle: str, now: bool) -> None:
    """Check a bundle, and write it to the free slot.

    \b
    Example:
      collector update install /media/collector-1.1.0.raucb
    """
    from collector.operate.update import appliance, show

    appliance.require_appliance()
    if not bundle.startswith(REMOTE):
        bundle = str(_existing(bundle))
    with show.progress() as tell:
        appliance.install(bundle, tell)
    _next(f"version {appliance.read_slots().other.version} is installed", now)


def _existing(name: str) -> Path:
    path = Path(name).absolute()
    if not path.is_file():
        raise InputError(
            f"there is no file {name}", "Name a bundle, collector-VERSION.raucb, or its address."
        )
    return path


@update.command()
@as_json_option
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Say which version runs, and which there is besides.

    Leaves with 1 when an update failed and the machine went back by itself.

    \b
    Example:
      collector update status
    """
    from collector.control.fallback import read_fallback
    from collector.operate.update import appliance, show

    appliance.require_appliance()
    slots, fallback = appliance.read_slots(), read_fallback() or ""
    show.print_slots(slots, fallback, as_json=as_json)
    context.exit(1 if fallback else 0)


@update.command()
@restart_option
def rollback(now: bool) -> None:
    """Go back to the version before.

    The configuration and all else stays as it is.

    \b
    Example:
      collector update rollback --reboot
    """
    from collector.operate.update import appliance, show

    appliance.require_appliance()
    slots = appliance.read_slots()
    if slots.chosen != slots.running.name:
        appliance.choose(slots.running)
        click.echo(f"It stays with version {slots.running.version}, which runs.")
        return
    show.require_good(slots.other)
    appliance.choose(slots.other)
    _next(f"version {slots.other.version} is chosen", now)


def _next(done: str, now: bool) -> None:
    from collector.operate.update import appliance

    if now:
        click.echo(f"{done.capitalize()}. Restarting.")
        appliance.restart()
    else:
        click.echo(f"{done.capitalize()}. Restart to start it: sudo systemctl reboot")
