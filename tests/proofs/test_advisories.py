"""No image holds a version with a known vulnerability unless templates/advisories.yaml says why."""

from __future__ import annotations

import json

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from paddock import paths
from paddock.matrix import advisories
from paddock.matrix.load import load_registry
from repository import REPOSITORY

KNOWN = advisories.load(paths.templates())
IMAGES = advisories.contents(paths.templates(), load_registry(paths.templates()).targets.values())
FOUND = list(advisories.findings(KNOWN, IMAGES))


def test_there_is_something_to_compare() -> None:
    """A check that saw no data must not pass: lists and advisories are there, and the rows fit the lists."""
    assert len(KNOWN.advisories) >= 30
    listed = {name for name, packages in IMAGES.items() if len(packages) > 50}
    assert len(listed) >= 9, sorted(listed)
    names = {package for packages in IMAGES.values() for package, _ in packages}
    unknown = [advisory.ids for advisory in KNOWN.advisories if not names & set(advisory.packages)]
    assert not unknown, f"no image holds what these are about: {unknown}"


def test_every_known_vulnerability_has_its_reason() -> None:
    without = [
        f"{found.image}: {found.package} {found.version}: {found.id}" for found in FOUND if found.held is None
    ]
    assert not without, "move the lock to a fixed version, or say why in templates/advisories.yaml"


def test_every_reason_is_needed() -> None:
    needed = [found.held for found in FOUND]
    unneeded = [held for held in KNOWN.held if held not in needed]
    assert not unneeded, "these images hold no affected version any more"


def test_what_is_not_reached_says_why_in_openvex_s_words() -> None:
    for held in KNOWN.held:
        assert (held.justification is not None) == (held.status == "not_affected"), held
        assert len(held.reason.split()) > 3


def test_a_fixed_version_is_not_affected_itself() -> None:
    for advisory in KNOWN.advisories:
        if advisory.fixed is not None:
            assert Version(advisory.fixed) not in SpecifierSet(advisory.affected), advisory


def test_the_decoder_of_the_pipeline_api_is_not_the_one_with_the_hole() -> None:
    """CVE-2025-53644: OpenCV 4.10 and 4.11."""
    decoders = {
        (image, version)
        for image, packages in IMAGES.items()
        for package, version in packages
        if package == "opencv-contrib-python"
    }
    assert {image for image, _ in decoders} == {image for image in IMAGES if image.endswith("-api")}
    assert all(Version(version) >= Version("4.12") for _, version in decoders), decoders


def test_bundles_carry_the_document() -> None:
    document = json.loads((REPOSITORY / "images/openvex.json").read_text("utf-8"))
    assert len(document["statements"]) == len(FOUND)


def test_the_document_for_people_names_every_image_that_holds_one() -> None:
    text = (REPOSITORY / "docs/security.md").read_text("utf-8")
    for package in {found.package for found in FOUND}:
        assert f"`{package}`" in text, package
