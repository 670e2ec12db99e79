"""Writes an SPDX 2.3 document: the Debian packages and the Python distributions of a root.

usage: sbom.py ROOT NAME SECONDS, the last being the time that the document is of
"""

from __future__ import annotations

import email.parser
import hashlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

DPKG_STATUS = "usr/lib/sysimage/dpkg/status"


def debian(root: Path) -> Iterator[dict[str, object]]:
    text = (root / DPKG_STATUS).read_text()
    for paragraph in text.strip().split("\n\n"):
        fields = email.parser.HeaderParser().parsestr(paragraph)
        name, version = fields["Package"], fields["Version"]
        query = f"?arch={fields['Architecture']}&distro=trixie"
        where = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}{query}"
        yield package("deb", name, version, where, f"Organization: {fields['Maintainer']}")


def python(root: Path) -> Iterator[dict[str, object]]:
    for metadata in root.glob("usr/**/*.dist-info/METADATA"):
        fields = email.parser.HeaderParser().parsestr(metadata.read_text(errors="replace"))
        name, version = fields["Name"], fields["Version"]
        where = f"pkg:pypi/{quote(name.lower())}@{quote(version)}"
        yield package("pypi", name, version, where, "NOASSERTION")


def package(kind: str, name: str, version: str, where: str, supplier: str) -> dict[str, object]:
    digest = hashlib.sha256(where.encode()).hexdigest()[:16]
    return {
        "SPDXID": f"SPDXRef-{kind}-{digest}",
        "name": name,
        "versionInfo": version,
        "supplier": supplier,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": where}
        ],
    }


def document(root: Path, name: str, seconds: int) -> dict[str, object]:
    packages = sorted([*debian(root), *python(root)], key=lambda each: str(each["SPDXID"]))
    digest = hashlib.sha256(json.dumps(packages).encode()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"urn:sha256:{digest}",
        "creationInfo": {
            "created": datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": ["Tool: collector image/sbom.py"],
        },
        "packages": packages,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": each["SPDXID"],
            }
            for each in packages
        ],
    }


if __name__ == "__main__":
    json.dump(document(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])), sys.stdout, indent=1)
