"""The software of an image as an SPDX 2.3 document, and its licences as one text.

Equal images give equal bytes: the date is the image's own, and names come from its digest.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any
from urllib.parse import quote

from paddock import __version__
from paddock.bundle.layers.softwarelist import Origin, Package, Software

_NOTHING_SAID = "NOASSERTION"
_EPOCH = "1970-01-01T00:00:00Z"


def spdx(reference: str, config_digest: str, created: str, software: Software) -> bytes:
    """The SPDX document of an image. `created` is the time in its configuration."""
    packages = sorted({package for listed in software.lists for package in listed.packages})
    described = [_package(package) for package in packages]
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": reference,
        "documentNamespace": uuid.uuid5(uuid.NAMESPACE_OID, config_digest).urn,
        "creationInfo": {"created": _seconds(created), "creators": [f"Tool: paddock-{__version__}"]},
        "packages": [_image(reference, config_digest), *described],
        "relationships": [
            _relationship("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
            *(_relationship("SPDXRef-Image", "CONTAINS", package["SPDXID"]) for package in described),
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def licences(reference: str, software: Software) -> bytes:
    """Every licence of the image; a text that several packages share appears once, below all their paths."""
    paths_by_text: dict[str, list[str]] = {}
    for licence in software.licences:
        paths_by_text.setdefault(licence.text.strip(), []).append(licence.path)
    parts = [f"Licences of the software in {reference}, as they lie in the image.\n"]
    for text, paths in paths_by_text.items():
        heading = "".join(f"/{path}\n" for path in paths)
        parts.append(f"{'=' * 80}\n{heading}\n{text}\n")
    return "\n".join(parts).encode()


def _image(reference: str, config_digest: str) -> dict[str, Any]:
    return {
        "SPDXID": "SPDXRef-Image",
        "name": reference,
        "versionInfo": config_digest,
        "downloadLocation": _NOTHING_SAID,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": config_digest.partition(":")[2]}],
        "licenseConcluded": _NOTHING_SAID,
        "licenseDeclared": _NOTHING_SAID,
        "copyrightText": _NOTHING_SAID,
    }


def _package(package: Package) -> dict[str, Any]:
    address = _address(package)
    described = {
        "SPDXID": f"SPDXRef-Package-{hashlib.sha256(address.encode()).hexdigest()[:16]}",
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": _NOTHING_SAID,
        "filesAnalyzed": False,
        "licenseConcluded": _NOTHING_SAID,
        "licenseDeclared": package.licence if package.expression else _NOTHING_SAID,
        "copyrightText": _NOTHING_SAID,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": address}
        ],
    }
    if package.licence and not package.expression:
        described["licenseComments"] = f"The package says: {package.licence}"
    return described


def _address(package: Package) -> str:
    """Its package URL (github.com/package-url/purl-spec)."""
    name, version = quote(package.name), quote(package.version)
    if package.origin is Origin.DEBIAN:
        qualifier = f"?arch={package.architecture}" if package.architecture else ""
        return f"pkg:deb/debian/{name}@{version}{qualifier}"
    return f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"


def _relationship(element: str, kind: str, related: str) -> dict[str, str]:
    return {"spdxElementId": element, "relationshipType": kind, "relatedSpdxElement": related}


def _seconds(created: str) -> str:
    """A time of an engine as SPDX has it: without fractions of a second; engines write UTC."""
    return created[:19] + "Z" if len(created) >= 20 else _EPOCH
