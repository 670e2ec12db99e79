"""New-CollectorVM.ps1, as it is written: there is no Hyper-V here, and no PowerShell to run it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lib.given import ROOT
from tests.lib.powershell import COMMON, Command, Script, above, nodes, said

SCRIPT = Script.of(ROOT / "deploy/hyperv/New-CollectorVM.ps1")
PAGE = (ROOT / "docs/hyperv.md").read_text()
SHOWN = [each.partition("\n\n")[0] for each in SCRIPT.help("EXAMPLE")]
SHOWN += re.findall(r"```powershell\n(.*?)```", PAGE, re.DOTALL)
REFERENCE = Path(__file__).with_name("hyperv_cmdlets.txt").read_text()
HYPERV = {name: set(parameters) for name, *parameters in map(str.split, REFERENCE.splitlines()[1:])}
# PowerShell's own, and the parameters that are used.
POWERSHELL = {
    "Copy-Item": {"LiteralPath", "Destination"},
    "Expand-Archive": set(),
    "ForEach-Object": set(),
    "Format-Table": set(),
    "Get-Module": {"ListAvailable", "Name"},
    "Join-Path": set(),
    "Out-Null": set(),
    "Remove-Item": {"LiteralPath", "Force"},
    "Select-Object": {"ExpandProperty", "Property", "Unique"},
    "Set-StrictMode": {"Version"},
    "Test-Path": {"LiteralPath", "PathType"},
    "Unblock-File": set(),
    "Where-Object": {"EQ"},
    "Write-Warning": set(),
}
CHANGING = ("Add", "Copy", "Disable", "Enable", "New", "Remove", "Rename", "Set", "Start", "Stop")
FUNCTIONS = SCRIPT.functions()
STEPS = [each for each in SCRIPT.commands() if each.name == "Invoke-Step"]


def is_ours(command: Command) -> bool:
    return command.name.endswith("New-CollectorVM.ps1")


def unknown(command: Command) -> set[str]:
    """Parameters that the cmdlet does not take."""
    given = {*command.parameters, *(key for splat in command.splats for key in SCRIPT.keys(splat))}
    return given - (HYPERV | POWERSHELL)[command.name] - COMMON


def blocks(step: Command) -> dict[str, str]:
    """-Do and -Undo of a step."""
    elements = step.node.child_by_field_name("command_elements")
    assert elements is not None
    return dict(re.findall(r"-(Do|Undo) (\{.*?\})(?= -|\s*\Z)", said(elements), re.DOTALL))


def test_it_can_be_read() -> None:
    assert SCRIPT.errors() == []
    assert SCRIPT.unset_variables() == set()


def test_what_is_wrong_is_found() -> None:
    assert Script("if ($a { 1 }").errors() != []
    assert Script('$vhdx = 1\nTest-Path "$vhdy"').unset_variables() == {"vhdy"}


def test_the_help_explains_every_parameter() -> None:
    explained = dict(text.split("\n", 1) for text in SCRIPT.help("PARAMETER"))
    assert list(explained) == list(SCRIPT.parameters())
    assert [name for name, words in explained.items() if not words.strip().endswith(".")] == []
    assert [len(SCRIPT.help(each)) for each in ("SYNOPSIS", "DESCRIPTION", "EXAMPLE")] == [1, 1, 2]


@pytest.mark.parametrize("text", SHOWN, ids=range(len(SHOWN)))
def test_what_is_shown_can_be_typed(text: str) -> None:
    shown = list(Script(text).commands())
    assert shown
    for each in shown:
        if is_ours(each):
            given = set(each.parameters)
            assert given - SCRIPT.parameters().keys() - COMMON == set(), text
            assert {name for name, must in SCRIPT.parameters().items() if must} - given == set(), text
        else:
            assert unknown(each) == set(), text


def test_both_ways_are_shown() -> None:
    shown = [set(each.parameters) for text in SHOWN for each in Script(text).commands() if is_ours(each)]
    assert [sum(way in each for each in shown) for way in ("PbxVM", "PhysicalSpan")] == [2, 2]


def test_every_command_exists_and_takes_its_parameters() -> None:
    for each in SCRIPT.commands():
        assert each.name in FUNCTIONS or unknown(each) == set(), said(each.node)


def test_nothing_is_changed_outside_a_step() -> None:
    """-WhatIf then changes nothing: a step asks before it does anything."""
    for each in SCRIPT.commands():
        changes = each.name.split("-")[0] in CHANGING and each.name not in FUNCTIONS
        if changes and each.name != "Set-StrictMode":
            assert any(node == step.node for node in above(each.node) for step in STEPS), said(each.node)
    (asks,) = (node for node in nodes(SCRIPT.root, "function_statement") if "ShouldProcess" in said(node))
    assert said(asks).index("ShouldProcess") < said(asks).index("& $Do")
    assert "[CmdletBinding(SupportsShouldProcess)]" in SCRIPT.text


def test_what_is_not_the_new_machine_is_taken_back() -> None:
    """The machine itself is removed as a whole."""
    assert len(STEPS) == 12
    for step in STEPS:
        target = said(step.node).split()[1]
        assert target == "$Name" or "Undo" in blocks(step), said(step.node)


def test_what_takes_back_gets_what_it_needs() -> None:
    """It runs after the function that knew it has ended."""
    for step in STEPS:
        wanted = re.search(r"param\((.*?)\)", blocks(step).get("Undo", ""))
        given = re.search(r"-With (.*)\Z", said(step.node), re.DOTALL)
        assert (wanted is None) is (given is None)
        if wanted and given:
            assert len(wanted[1].split(",")) == len(given[1].split(","))


def test_the_machine_is_what_the_image_is_for() -> None:
    for words in (
        "-Generation 2",
        "-EnableSecureBoot On -SecureBootTemplate MicrosoftUEFICertificateAuthority",
        "-PortMirroring Destination",
        "-PortMirroring Source",
        "-VMNetworkAdapterName Mirror -Trunk",
    ):
        assert words in SCRIPT.text
