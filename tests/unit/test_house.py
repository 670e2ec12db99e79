"""The rules of the house: style, types, who may import whom, and where things are."""

from __future__ import annotations

import ast
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted((ROOT / "collector").rglob("*.py"))
C_SOURCES = sorted(path for top in ("collector", "deploy", "tests") for path in (ROOT / top).rglob("*.[ch]"))
PYTHON = ("collector", "deploy", "image", "iso", "tests")
C_STYLE = ROOT / "collector/datapath/bpf/.clang-format"

TOP_LEVEL = {
    ".ci", ".gitignore", "Makefile", "README.md", "collector", "deploy", "docs", "image", "iso", "packer",
    "pyproject.toml", "tests",
}  # fmt: skip

# The modules that may import a library. Python has no adjtimex(2) of its own, which clock.py calls.
ONLY_IMPORTERS = {
    "ctypes": {"datapath/libbpf.py", "control/clock.py"},
    "yaml": {"control/config.py"},
}
# The demonstration has to start sipp. What takes an apply back is the collector again, to outlive the shell.
# An update is the work of RAUC and the appliance's programs, by an operator's command, off a frame's way.
MAY_START_PROGRAMS = {
    "operate/demo.py", "operate/lab.py", "operate/update/appliance.py", "control/confirm.py",
}  # fmt: skip
STARTS_PROGRAMS = ("system", "popen", "exec", "spawn", "posix_spawn")


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(done.stdout + done.stderr, pytrace=False)


def name(path: Path) -> str:
    return path.relative_to(ROOT / "collector").as_posix()


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, as its full dotted name, `from a import b` as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers(*modules: str) -> set[str]:
    """The files of the product that import one of the modules, or something in it."""
    return {
        name(path)
        for path in PRODUCT
        for imported in imports(path)
        if any(f"{imported}.".startswith(f"{module}.") for module in modules)
    }


def functions(path: Path) -> Iterator[int]:
    """The length of each function, in lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def test_python_is_clean() -> None:
    run(sys.executable, "-m", "ruff", "check", *PYTHON)


def test_python_is_formatted() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", "--diff", *PYTHON)


def test_types_hold() -> None:
    run(sys.executable, "-m", "mypy")


@pytest.mark.skipif(not C_SOURCES, reason="there is no C here")
def test_c_is_formatted() -> None:
    clang_format = Path(sys.executable).with_name("clang-format")
    run(clang_format, "--dry-run", "-Werror", f"--style=file:{C_STYLE}", *C_SOURCES)


def test_the_datapath_knows_nothing_above_it() -> None:
    above = importers("collector.control", "collector.operate", "collector.cli")
    assert {path for path in above if path.startswith("datapath/")} == set()


@pytest.mark.parametrize(("library", "modules"), ONLY_IMPORTERS.items())
def test_only_these_modules_import(library: str, modules: set[str]) -> None:
    assert importers(library) - modules == set()


def test_almost_nothing_starts_programs() -> None:
    assert importers("subprocess", "pty", "multiprocessing") - MAY_START_PROGRAMS == set()
    through_os = {
        name(path)
        for path in PRODUCT
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"os", "asyncio"}
        and node.attr.startswith((*STARTS_PROGRAMS, "create_subprocess"))
    }
    assert through_os - MAY_START_PROGRAMS == set()


def test_top_level_of_the_tree() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    # Under sudo the checkout is another user's, which git refuses to read unless told that it is fine.
    tracked = subprocess.run(
        [git, "-c", f"safe.directory={ROOT}", "ls-files"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {path.split("/")[0] for path in tracked} - TOP_LEVEL == set()


def test_files_and_functions_are_short() -> None:
    assert [name(path) for path in PRODUCT if len(path.read_text().splitlines()) > 300] == []
    lengths = sorted(length for path in PRODUCT for length in functions(path))
    assert statistics.median(lengths) <= 10
    assert lengths[len(lengths) * 9 // 10] < 40
