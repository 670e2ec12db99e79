#!/usr/bin/env python3
"""Writes a manual page for the collector and for each of its commands, out of their own help.

manpages.py FOLDER
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import cleandoc
from pathlib import Path

import click

from collector.cli import main_group
from collector.options import DEFAULT_FILE
from collector.version import version

SECTION = 1
# click's mark before a paragraph whose lines stay as they are.
AS_IT_IS = "\b\n"
EXIT_STATUS = {
    0: "Done.",
    1: "This host refused, lacks something, or is not healthy.",
    2: "The file or the command line is wrong; nothing was changed.",
}


def escape(text: str) -> str:
    """For roff, where a backslash, and a point or a quote that begins a line, are commands."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return re.sub(r"^\.", r"\\&.", plain, flags=re.MULTILINE)


def page_name(context: click.Context) -> str:
    return context.command_path.replace(" ", "-")


def subcommands(context: click.Context) -> Iterator[click.Context]:
    """Without the hidden ones."""
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command and not command.hidden:
                yield click.Context(command, info_name=name, parent=context)


def everything(context: click.Context) -> Iterator[click.Context]:
    yield context
    for each in subcommands(context):
        yield from everything(each)


def paragraphs(context: click.Context) -> list[str]:
    return re.split(r"\n\n+", cleandoc(context.command.help or ""))


def is_example(paragraph: str) -> bool:
    return paragraph.startswith((f"{AS_IT_IS}Example:", f"{AS_IT_IS}Examples:"))


def literal(lines: list[str]) -> Iterator[str]:
    yield from (".RS 4", ".nf", *(escape(line.removeprefix("  ")) for line in lines), ".fi", ".RE")


def description(context: click.Context) -> Iterator[str]:
    yield ".SH DESCRIPTION"
    for number, paragraph in enumerate(each for each in paragraphs(context) if not is_example(each)):
        if number:
            yield ".PP"
        if paragraph.startswith(AS_IT_IS):
            title, *lines = paragraph.removeprefix(AS_IT_IS).splitlines()
            yield escape(title)
            yield from literal(lines)
        else:
            yield escape(" ".join(paragraph.split()))


def options(context: click.Context) -> Iterator[str]:
    yield ".SH OPTIONS"
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record:
            yield from (".TP", f"\\fB{escape(record[0])}\\fR", escape(record[1]))


def commands(context: click.Context) -> Iterator[str]:
    found = list(subcommands(context))
    if found:
        yield ".SH COMMANDS"
    for each in found:
        yield from (".TP", reference(each), escape(each.command.get_short_help_str(limit=200)))


def reference(context: click.Context) -> str:
    return f"\\fB{escape(page_name(context))}\\fR({SECTION})"


def examples(context: click.Context) -> Iterator[str]:
    for paragraph in filter(is_example, paragraphs(context)):
        title, *lines = paragraph.removeprefix(AS_IT_IS).splitlines()
        yield f".SH {title.removesuffix(':').upper()}"
        yield from literal(lines)


def see_also(context: click.Context) -> Iterator[str]:
    if context.parent:
        others = (each for each in subcommands(context.parent) if each.info_name != context.info_name)
        yield ".SH SEE ALSO"
        yield ",\n".join(map(reference, (context.parent, *others)))


def page(context: click.Context, day: str) -> str:
    summary = context.command.get_short_help_str(limit=200).removesuffix(".")
    usage = " ".join((context.command_path, *context.command.collect_usage_pieces(context)))
    name = escape(page_name(context))
    lines = [
        f'.TH {name.upper()} {SECTION} {day} "collector {version()}" "Collector manual"',
        *(".SH NAME", f"{name} \\- {escape(summary)}"),
        *(".SH SYNOPSIS", f"\\fB{escape(usage)}\\fR"),
        *description(context),
        *options(context),
        *commands(context),
        *examples(context),
        *(".SH FILES", ".TP", escape(str(DEFAULT_FILE)), "The configuration."),
        ".SH EXIT STATUS",
        *(line for code, words in EXIT_STATUS.items() for line in (".TP", str(code), words)),
        *see_also(context),
    ]
    return "\n".join(lines) + "\n"


def write_pages(folder: Path) -> None:
    """Dated by SOURCE_DATE_EPOCH, so that the same source makes the same pages."""
    day = f"{datetime.fromtimestamp(int(os.environ['SOURCE_DATE_EPOCH']), UTC):%Y-%m-%d}"
    folder.mkdir()
    main = click.Context(main_group, info_name="collector", **main_group.context_settings)
    for context in everything(main):
        (folder / f"{page_name(context)}.{SECTION}").write_text(page(context, day))


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
