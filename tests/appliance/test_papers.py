"""What is said about the image is true: its size, its SBOM, its manifest, its lock, its check sums."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.lib.appliance import DIST, artefact

TREE = Path(__file__).parents[2]
MIB = 2**20
SPDX_ID = re.compile(r"SPDXRef-[A-Za-z0-9.-]+")
PURL = re.compile(
    r"pkg:(deb/debian|pypi)/[a-z0-9.+_%B-]+@[A-Za-z0-9.+~%_-]+(\?arch=(amd64|all)&distro=trixie)?"
)


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(artefact("spdx.json").read_text())


@pytest.fixture(scope="module")
def manifest() -> list[list[str]]:
    return [line.split() for line in artefact("manifest").read_text().splitlines()]


def installed(root: Path) -> dict[str, str]:
    """The Debian packages of the root, by dpkg's own word."""
    command = ["dpkg-query", f"--admindir={root / 'usr/lib/sysimage/dpkg'}", "--show"]
    command += ["--showformat", "${Package} ${Version}\n"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.split(maxsplit=1) for line in done.stdout.splitlines())


def libraries(root: Path) -> set[tuple[str, str]]:
    """Debian's own among them: the collector's may be there in another version."""
    folders = (root / "usr/lib").rglob("*.dist-info")
    found = [folder.name.removesuffix(".dist-info").split("-") for folder in folders]
    return {(normal(name), version) for name, version in found}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_root_is_within_its_budget() -> None:
    (budget,) = re.findall(r"^\d+$", (TREE / "image/budget").read_text(), re.MULTILINE)
    assert artefact("squashfs").stat().st_size <= int(budget) <= 200_000_000


def test_the_iso_is_within_its_budget() -> None:
    (budget,) = re.findall(r"^\d+$", (TREE / "iso/budget").read_text(), re.MULTILINE)
    assert artefact("iso").stat().st_size <= int(budget) <= 230_000_000


@pytest.mark.parametrize("slot", ["40-root-a", "50-root-b"])
def test_a_slot_is_at_most_half_full(slot: str) -> None:
    text = (TREE / f"image/disk/repart/{slot}.conf").read_text()
    sizes = dict(re.findall(r"^(SizeM\w+)=(\d+)M$", text, re.MULTILINE))
    assert sizes["SizeMinBytes"] == sizes["SizeMaxBytes"]
    assert artefact("squashfs").stat().st_size <= int(sizes["SizeMinBytes"]) * MIB / 2


def test_check_sums_hold() -> None:
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=DIST, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    kinds = {
        line.partition(": OK")[0].partition(".")[2].split(".", 2)[-1] for line in done.stdout.splitlines()
    }
    assert kinds == {"raw", "qcow2", "vhdx.zip", "ova", "iso", "squashfs", "raucb", "spdx.json", "manifest"}


def test_the_sbom_is_spdx(document: Any) -> None:
    """What SPDX 2.3 requires of a document, of its creation and of its relationships."""
    assert (document["spdxVersion"], document["dataLicense"]) == ("SPDX-2.3", "CC0-1.0")
    assert document["SPDXID"] == "SPDXRef-DOCUMENT"
    assert document["name"] == artefact("squashfs").stem
    assert re.fullmatch(r"[a-z]+:[^#\s]+", document["documentNamespace"])
    created = document["creationInfo"]["created"]
    assert datetime.fromisoformat(created).strftime("%Y-%m-%dT%H:%M:%SZ") == created
    assert all(
        re.match(r"(Tool|Person|Organization): \S", each) for each in document["creationInfo"]["creators"]
    )
    ids = [package["SPDXID"] for package in document["packages"]]
    assert len(set(ids)) == len(ids)
    assert document["relationships"] == [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": each}
        for each in ids
    ]


def test_the_sbom_s_packages_are_spdx(document: Any) -> None:
    for package in document["packages"]:
        assert SPDX_ID.fullmatch(package["SPDXID"]), package
        assert package["name"], package
        assert package["versionInfo"], package
        assert package["downloadLocation"] == "NOASSERTION", package
        assert package["filesAnalyzed"] is False, package
        assert re.match(r"(Organization|Person): \S|NOASSERTION$", package["supplier"]), package
        (reference,) = package["externalRefs"]
        assert (reference["referenceCategory"], reference["referenceType"]) == ("PACKAGE-MANAGER", "purl")
        assert PURL.fullmatch(reference["referenceLocator"]), package


def test_the_sbom_is_complete(document: Any, root: Path) -> None:
    """Every package of Debian's and every library of Python's, and nothing else."""
    named = [(package["externalRefs"][0]["referenceLocator"], package) for package in document["packages"]]
    debian = {
        package["name"]: package["versionInfo"] for where, package in named if where.startswith("pkg:deb/")
    }
    python = {
        (normal(package["name"]), package["versionInfo"])
        for where, package in named
        if where.startswith("pkg:pypi/")
    }
    assert debian == installed(root)
    assert python == libraries(root)


def test_the_manifest_names_every_package(manifest: list[list[str]], root: Path) -> None:
    assert {line[1]: line[2] for line in manifest if line[0] == "package"} == installed(root)


def test_every_package_is_locked_or_named_as_not(manifest: list[list[str]], root: Path) -> None:
    lines = (TREE / "image/packages.lock").read_text().splitlines()
    locked = {
        name: version for name, version, *_ in (line.split() for line in lines if not line.startswith("#"))
    }
    tools = {line[1]: line[2] for line in manifest if line[0] == "tool"}
    used = (installed(root).items() - {("collector", installed(root)["collector"])}) | tools.items()
    otherwise = {(line[1], line[2]) for line in manifest if line[0] == "not-as-locked"}
    assert {(name, version) for name, version in used if locked.get(name) != version} == otherwise


def test_the_lock_names_the_file_of_every_package() -> None:
    lines = (TREE / "image/packages.lock").read_text().splitlines()
    wrong = [
        line for line in lines if not re.fullmatch(r"#.*|[a-z0-9.+-]+ \S+ (amd64|all) [0-9a-f]{64}", line)
    ]
    assert (wrong, len(lines) > 200) == ([], True)
