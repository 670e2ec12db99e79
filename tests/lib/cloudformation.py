"""What a CloudFormation template comes to with given parameters, as far as our template needs it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cfnlint.decode

Tree = Any  # of the template: dictionaries, lists, texts and numbers
LOOP = "Fn::ForEach::"
NOTHING = {"Ref": "AWS::NoValue"}
PSEUDO = {"AWS::StackName": "collector", "AWS::NoValue": NOTHING}


def load(path: Path) -> dict[str, Tree]:
    """The template, with the short forms (!Ref) written out."""
    template, problems = cfnlint.decode.decode(str(path))
    assert problems == []
    return plain(template)  # type: ignore[no-any-return]


def plain(tree: Tree) -> Tree:
    if isinstance(tree, dict):
        return {str(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [plain(each) for each in tree]
    return str(tree) if isinstance(tree, str) else tree


class Template:
    """Parameters are filled in, conditions decided, loops unrolled; what AWS alone knows stays a Ref."""

    def __init__(self, path: Path, parameters: dict[str, Tree]) -> None:
        self.source = load(path)
        defaults = {
            key: each["Default"] for key, each in self.source["Parameters"].items() if "Default" in each
        }
        self.values: dict[str, Tree] = {**PSEUDO, **defaults, **parameters}
        assert set(self.values) - set(PSEUDO) == set(self.source["Parameters"])
        self.resources = dict(self._resources())

    def of_type(self, kind: str) -> list[dict[str, Tree]]:
        return [each.get("Properties", {}) for each in self.resources.values() if each["Type"] == kind]

    def user_data(self) -> str:
        (template,) = self.of_type("AWS::EC2::LaunchTemplate")
        return base64.b64decode(template["LaunchTemplateData"]["UserData"]).decode()

    def _resources(self) -> Iterator[tuple[str, dict[str, Tree]]]:
        for name, resource in self._unroll(self.source["Resources"], {}):
            if "Condition" not in resource or self._decide({"Condition": resource["Condition"]}):
                yield name, {key: value for key, value in resource.items() if key != "Condition"}

    def _unroll(self, tree: dict[str, Tree], scope: dict[str, str]) -> Iterator[tuple[str, Tree]]:
        for name, body in tree.items():
            if name.startswith(LOOP):
                identifier, collection, inner = body
                for each in self._resolve(collection, scope):
                    yield from self._unroll(inner, {**scope, identifier: each})
            else:
                yield self._name(name, scope), self._resolve(body, scope)

    @staticmethod
    def _name(name: str, scope: dict[str, str]) -> str:
        for identifier, value in scope.items():
            name = name.replace(f"${{{identifier}}}", value)
            name = name.replace(f"&{{{identifier}}}", re.sub(r"\W", "", value))
        return name

    def _resolve(self, tree: Tree, scope: dict[str, str]) -> Tree:
        if isinstance(tree, list):
            return [each for each in (self._resolve(item, scope) for item in tree) if each != NOTHING]
        if not isinstance(tree, dict):
            return tree
        if len(tree) == 1:
            ((function, argument),) = tree.items()
            if function in {"Ref", "Fn::Sub", "Fn::If", "Fn::Select", "Fn::Base64"}:
                return self._call(function, argument, scope)
        resolved = {key: self._resolve(value, scope) for key, value in tree.items()}
        return {key: value for key, value in resolved.items() if value != NOTHING}

    def _call(self, function: str, argument: Tree, scope: dict[str, str]) -> Tree:
        values = {**self.values, **scope}
        match function:
            case "Ref":
                return values.get(argument, {"Ref": argument})
            case "Fn::Sub":
                return re.sub(r"\$\{([\w:]+)\}", lambda found: str(values[found[1]]), argument)
            case "Fn::If":
                condition, yes, no = argument
                return self._resolve(yes if self._decide({"Condition": condition}) else no, scope)
            case "Fn::Select":
                index, items = argument
                return self._resolve(items, scope)[index]
            case _:
                return base64.b64encode(self._resolve(argument, scope).encode()).decode()

    def _decide(self, condition: dict[str, Tree]) -> bool:
        ((function, argument),) = condition.items()
        match function:
            case "Condition":
                return self._decide(self.source["Conditions"][argument])
            case "Fn::Equals":
                left, right = self._resolve(argument, {})
                return bool(left == right)
            case "Fn::Not":
                return not self._decide(argument[0])
            case _:
                assert function == "Fn::And"
                return all(self._decide(each) for each in argument)
