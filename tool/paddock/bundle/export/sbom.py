"""The list of an image's software as an SPDX 2.3 document, and its licences as one text.

Equal images give equal bytes: the date is the image's own, names come from its digest.
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
    described = [_package(each) for each in packages]
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
            *(_relationship("SPDXRef-Image", "CONTAINS", each["SPDXID"]) for each in described),
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def licences(reference: str, software: Software) -> bytes:
    """Every licence of the image; a text that several packages share stands once, below all their paths."""
    paths: dict[str, list[str]] = {}
    for each in software.licences:
        paths.setdefault(each.text.strip(), []).append(each.path)
    parts = [f"Licences of the software in {reference}, as they lie in the image.\n"]
    parts += [
        "=" * 80 + "\n" + "".join(f"/{path}\n" for path in found) + f"\n{text}\n"
        for text, found in paths.items()
    ]
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
    found = {
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
        found["licenseComments"] = f"The package says: {package.licence}"
    return found


def _address(package: Package) -> str:
    """Its package URL (github.com/package-url/purl-spec)."""
    name, version = quote(package.name), quote(package.version)
    if package.origin is Origin.DEBIAN:
        return f"pkg:deb/debian/{name}@{version}" + (
            f"?arch={package.architecture}" if package.architecture else ""
        )
    return f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"


def _relationship(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _seconds(created: str) -> str:
    """SPDX knows no fractions of a second, and no zone but UTC, which engines write."""
    return created[:19] + "Z" if len(created) >= 20 else _EPOCH
