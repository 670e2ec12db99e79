"""What the pages say exists: configurations, commands, links, files, drop reasons."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from collector.cli import main_group
from collector.control import notes
from collector.control.config import parse
from collector.datapath import nic, program
from collector.datapath.settings import DropReason
from iso.installer import answers

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
DATAPATH = (ROOT / "docs/datapath.md").read_text()

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
END_OF_COMMAND = re.compile(r"[|;#]|&&")
PLACEHOLDER = "COMMAND"


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: str, language: str) -> list[str]:
    return [text for found, text in FENCE.findall(page) if found == language]


def commands(page: str) -> Iterator[str]:
    """Every command of ours, in a block of shell or in the running text."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for text in [*lines, *INLINE.findall(FENCE.sub("", page))]:
        for piece in END_OF_COMMAND.split(text):
            words = piece.strip().removeprefix("sudo ")
            if re.match(r"(collector|make) ", words):
                yield words


def run_dry(arguments: list[str]) -> None:
    """As the command line reads them, without doing it; click.UsageError where it would complain."""
    group = click.Context(main_group, info_name="collector")
    _options, rest, _order = main_group.make_parser(group).parse_args(arguments)
    if not rest or rest == [PLACEHOLDER]:
        return
    command = main_group.get_command(group, rest[0])
    if command is None:
        raise click.UsageError(f"there is no command {rest[0]}")
    if rest[1:] != ["--help"]:
        command.make_context(rest[0], rest[1:], parent=group)


def anchors(path: Path) -> set[str]:
    """The headings of a page, as a link names them."""
    words = (re.sub(r"[^\w -]", "", heading.lower()) for heading in HEADING.findall(path.read_text()))
    return {heading.replace(" ", "-") for heading in words}


def tree(block: str) -> Iterator[Path]:
    """Every path of an indented tree; what it says about a path stands two spaces behind it."""
    folders: dict[int, Path] = {-1: ROOT}
    for line in block.splitlines():
        depth = len(line) - len(line.lstrip())
        parent = folders[max(each for each in folders if each < depth)]
        for name in re.split(r"\s{2,}", line.strip())[0].split():
            folders = {each: path for each, path in folders.items() if each < depth}
            folders[depth] = parent / name
            yield parent / name


every_page = pytest.mark.parametrize("path", PAGES, ids=page_name)


@every_page
def test_configurations_are_right(path: Path) -> None:
    for block in blocks(path.read_text(), "yaml"):
        if block.startswith("# install.yaml"):
            assert answers.parse(block, page_name(path)).selectors
            continue
        assert parse(configuration_in(block), page_name(path)).sources


def configuration_in(block: str) -> str:
    """User data holds it as text."""
    return str(yaml.safe_load(block)["collector"]) if block.startswith("#cloud-config") else block


@every_page
def test_commands_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(path.read_text()):
        program, *arguments = shlex.split(command)
        if program == "make":
            assert {each for each in arguments if not re.match("[A-Z_]+=", each)} <= targets, command
            continue
        try:
            run_dry(arguments)
        except click.UsageError as error:
            pytest.fail(f"{page_name(path)}: `{command}`: {error.format_message()}", pytrace=False)


@every_page
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text()):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.is_file(), f"{page_name(path)}: {link}"
        assert not anchor or anchor in anchors(target), f"{page_name(path)}: {link}"


def test_the_readme_names_what_there_is() -> None:
    readme = (ROOT / "README.md").read_text()
    named = list(tree(blocks(readme.partition("## The tree")[2], "")[0]))
    assert ROOT / "collector/datapath/bpf/collector.bpf.c" in named
    assert [page_name(path) for path in named if not path.exists()] == []


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["aply"], "there is no command aply"),
        (["apply", "--now"], "No such option"),
        (["--instanse", "x", "status"], "No such option"),
        (["status", "please"], "unexpected extra argument"),
    ],
)
def test_wrong_commands_are_found(command: list[str], complaint: str) -> None:
    with pytest.raises(click.UsageError, match=f"(?i){complaint}"):
        run_dry(command)


def test_every_drop_reason_is_explained() -> None:
    table = DATAPATH.partition("## Drop reasons")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert explained == [reason.name.lower() for reason in DropReason]


def test_every_offload_that_is_switched_off_is_explained() -> None:
    table = DATAPATH.partition("## Settings that apply changes")[2].partition("\n## ")[0]
    assert {name for name in INLINE.findall(table) if name.startswith("rx-")} - {"rx-vlan-offload"} == set(
        nic.ALTERING
    )


def test_every_pin_is_explained() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    table = page.partition("| Pin | What it is |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in INLINE.findall(row.split("|")[1] if row else "")}
    links = {"tc_N", "xdp_N", "filter_N", "clsact_N"}
    assert named == {*links, *notes.PINS, *program.LOSS_PROGRAMS, *program.KEPT_MAPS}
