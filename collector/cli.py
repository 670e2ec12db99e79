"""The command line: nouns read, verbs change."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from collector import nouns, verbs
from collector.errors import CollectorError, InputError
from collector.options import DEFAULT_FILE, Options


class _Commands(click.Group):
    """Commands that bring modules of their own are read when they are asked for: --help stays quick."""

    _elsewhere = ("demo", "setup", "sink", "update")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._elsewhere])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name == "sink":
            from collector.operate.sink import sink

            return sink
        if name == "update":
            from collector.operate.update.command import update

            return update
        if name == "setup":
            from collector.operate.setup.command import setup

            return setup
        if name == "demo":
            from collector.operate.demo import demo

            return demo
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
@click.version_option(package_name="collector", prog_name="collector")
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


for _command in (
    nouns.check, nouns.plan, verbs.apply, verbs.confirm, verbs.remove, nouns.status, nouns.interfaces,
    nouns.metrics, nouns.top, verbs.run, verbs.guard,
):  # fmt: skip
    main_group.add_command(_command)


def main() -> None:
    """What a user can mend goes to stderr without a traceback; a bug of ours keeps it."""
    try:
        main_group(prog_name="collector")
    except CollectorError as error:
        label = "" if isinstance(error, InputError) and ":" in error.what.split(" ")[0] else "collector: "
        click.echo(f"{label}{error}", err=True)
        sys.exit(error.exit_code)
