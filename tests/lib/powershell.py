"""A PowerShell script, as a grammar that is not ours reads it: Debian has no PowerShell to run it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tree_sitter_powershell
from tree_sitter import Language, Node, Parser

# What PowerShell itself sets.
AUTOMATIC = {"_", "true", "false", "null", "host", "pscmdlet", "whatifpreference"}
COMMON = {"ErrorAction", "WhatIf", "Confirm", "Verbose"}


@dataclass(frozen=True)
class Command:
    node: Node
    name: str
    parameters: tuple[str, ...]
    splats: tuple[str, ...]


class Script:
    def __init__(self, text: str) -> None:
        self.text = text
        self.root = Parser(Language(tree_sitter_powershell.language())).parse(text.encode()).root_node

    @classmethod
    def of(cls, path: Path) -> Script:
        return cls(path.read_text(encoding="ascii"))

    def errors(self) -> list[str]:
        return [
            f"{each.start_point}: {said(each)}"
            for each in nodes(self.root)
            if each.is_error or each.is_missing
        ]

    def help(self, keyword: str) -> list[str]:
        """What stands below each .KEYWORD of the help; a .PARAMETER's name is the first line."""
        comment = self.text.partition("<#")[2].partition("#>")[0]
        parts = re.split(r"^\.([A-Z]+)", comment, flags=re.MULTILINE)
        return [text.strip() for word, text in zip(parts[1::2], parts[2::2], strict=True) if word == keyword]

    def parameters(self) -> dict[str, bool]:
        """Whether each must be given."""
        block = next(each for each in nodes(self.root) if each.type == "param_block")
        found = {}
        for each in nodes(block, "script_parameter"):
            name = said(next(child for child in each.children if child.type == "variable"))
            found[name.removeprefix("$")] = "Mandatory" in said(each)
        return found

    def commands(self) -> Iterator[Command]:
        for node in nodes(self.root, "command"):
            name = node.child_by_field_name("command_name")
            if name is not None and name.type == "command_name":
                yield command(node, said(name))

    def functions(self) -> set[str]:
        return {said(each) for each in nodes(self.root, "function_name")}

    def keys(self, variable: str) -> set[str]:
        """Of every hash table that the variable is."""
        tables = re.findall(rf"\${variable} = @\{{(.*?)\}}", self.text)
        return {key for table in tables for key in re.findall(r"(\w+) =", table)}

    def unset_variables(self) -> set[str]:
        """Those that nothing sets: strict mode stops at them."""
        code = re.sub(r"<#.*?#>", "", self.text, flags=re.DOTALL)
        read = {name.lower() for name in re.findall(r"[$@](\w+)\b(?!:)", code)}
        written = {
            name.lower() for name in re.findall(r"\$(\w+) = |foreach \(\$(\w+) in", code) for name in name
        }
        declared = {said(name).removeprefix("$").lower() for each in nodes(self.root, "script_parameter")
                    for name in nodes(each, "variable")}  # fmt: skip
        return read - written - declared - AUTOMATIC


def command(node: Node, name: str) -> Command:
    elements = node.child_by_field_name("command_elements")
    children = elements.children if elements is not None else []
    parameters = tuple(said(each).removeprefix("-") for each in children if each.type == "command_parameter")
    splats = tuple(said(each).removeprefix("@") for each in children if re.match(r"@\w", said(each)))
    return Command(node, name, parameters, splats)


def nodes(node: Node, kind: str | None = None) -> Iterator[Node]:
    if kind is None or node.type == kind:
        yield node
    for child in node.children:
        yield from nodes(child, kind)


def said(node: Node) -> str:
    return (node.text or b"").decode()


def above(node: Node) -> Iterator[Node]:
    while (parent := node.parent) is not None:
        yield parent
        node = parent
