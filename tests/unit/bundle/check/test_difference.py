"""What differs between two bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.bundle.check.difference import Change, compare
from paddock.bundle.format.reader import OpenBundle
from paddock.errors import BundleError
from samples import bundles
from small_images import as_json, digest

SBOM = "sbom/api.spdx.json"
OLD, NEW = bundles.LAYERS[:2], (bundles.LAYERS[0], bundles.LAYERS[2])


def software(**versions: str) -> bytes:
    packages = [
        {"versionInfo": version, "externalRefs": [{"referenceLocator": f"pkg:pypi/{name}@{version}"}]}
        for name, version in versions.items()
    ]
    return as_json({"packages": [*packages, {"versionInfo": "1"}]})


def test_everything_that_changed_is_named(tmp_path: Path) -> None:
    bundles.write(tmp_path / "old", images={"a:1": OLD, "b:1": OLD}, files={SBOM: software(x="1", y="2")})
    bundles.write(tmp_path / "new", images={"a:1": OLD, "c:1": NEW}, files={SBOM: software(x="1.1", y="2")})
    with OpenBundle.open([tmp_path / "old"]) as old, OpenBundle.open([tmp_path / "new"]) as new:
        difference = compare(old, new)
    assert [change.name for change in difference.images] == ["b:1", "c:1"]
    assert difference.software == (Change(name="pkg:pypi/x", before="1", after="1.1"),)
    assert [change.name for change in difference.files] == [SBOM]
    assert difference.removed == ()
    assert [layer.diff_id for layer in difference.added] == [digest(NEW[1])]


def test_equal_bundles_differ_in_nothing(tmp_path: Path) -> None:
    bundles.write(tmp_path)
    with OpenBundle.open([tmp_path]) as bundle:
        difference = compare(bundle, bundle)
    assert not any(
        (difference.images, difference.software, difference.files, difference.removed, difference.added)
    )


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"packages": [1]}', b'{"packages": [{"externalRefs": [{}]}]}']
)
def test_a_software_list_that_is_none(tmp_path: Path, text: bytes) -> None:
    bundles.write(tmp_path, files={SBOM: text})
    with OpenBundle.open([tmp_path]) as bundle, pytest.raises(BundleError, match="is not a software list"):
        compare(bundle, bundle)
