"""`collector setup`: questions and answers at the console, for one who need not know the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collector.options import Options


@click.command()
@click.pass_obj
def setup(options: Options) -> None:
    """Set this machine up, by questions and answers.

    For the console or SSH. It shows which NIC frames arrive at, writes the
    file, and takes everything back unless you say that it is right.

    \b
    Example:
      collector setup
    """
    from collector.operate.setup.session import run

    run(options)
