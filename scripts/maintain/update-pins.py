#!/usr/bin/env python3
"""Writes templates/lock.yaml: asks container registries for digests of images, Hugging Face for revisions.

Changes that file and nothing else. What cannot be asked keeps the value that it had, or says why it has none.

usage: update-pins.py [--check | --offline]
  --offline  ask nothing: write what the lists of packages are now
  --check    ask nothing: exit 4 when the file does not hold exactly what the data in templates/ calls for
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import requests

from paddock import paths
from paddock.building import containerregistry, doctor, settings
from paddock.building.containerregistry import Verdict
from paddock.building.doctor import Wanted
from paddock.errors import ConfigurationError
from paddock.matrix import pins
from paddock.matrix.images import TOOL
from paddock.matrix.load import load_registry, load_shared_images
from paddock.matrix.pins import PinnedBase, PinnedPackages, PinnedWeights, Pins
from paddock.matrix.records import Platform, Source, WeightSet
from paddock.matrix.registry import Registry
from paddock.weights.sources import Endpoints

HEADER = (
    "# What every image and stack comes to, exactly. Written by scripts/maintain/update-pins.py; "
    "`paddock doctor --online` compares.\n"
    "# `unpinned` says why something has no exact value. "
    "Versions of packages are in templates/locks, one file an image.\n"
)
NO_LIST = "installs no Python packages: its own are the base image's, or what templates/targets pins"
TOOL_LIST = "constraints.txt at the top of the checkout lists the packages of paddock itself"
NO_REVISION = {
    Source.BOS: (
        "the object store publishes neither revision nor hash; `paddock models fetch` records what it got"
    ),
    Source.MODELSCOPE: "asked by branch; every file is checked against the hash that is published with it",
}


class Asking:
    """Answers from the network, or none with `--check` and `--offline`."""

    def __init__(self, *, online: bool) -> None:
        self._online = online
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "paddock"
        if bundle := settings.build_settings(paths.workspace(), {}).ca_bundle:
            self._session.verify = str(bundle)
        self._today = datetime.now(UTC).date().isoformat()

    def base(self, image: str, platform: Platform, old: PinnedBase | None) -> PinnedBase:
        """The digest of a base image as its registry has it now."""
        if not self._online:
            return old or PinnedBase(unpinned="never asked")
        answer = containerregistry.look_up(image, platform, session=self._session)
        if answer.verdict is Verdict.PRESENT and answer.digest:
            return PinnedBase(digest=answer.digest)
        say(f"{image} for {platform}: {answer.verdict}: {answer.detail}")
        if old and old.digest:
            return old
        host = containerregistry.Reference.of(image).host
        return PinnedBase(unpinned=f"{host} could not be asked on {self._today}")

    def weights(self, source: Source, repository: str, old: PinnedWeights | None) -> PinnedWeights:
        """The commit of a repository of weights."""
        if source in NO_REVISION:
            return PinnedWeights(unpinned=NO_REVISION[source])
        if not self._online:
            return old or PinnedWeights(unpinned="never asked")
        try:
            url = f"{Endpoints.of(os.environ).huggingface}/api/models/{repository}"
            answer = self._session.get(url, timeout=containerregistry.TIMEOUT)
            answer.raise_for_status()
            return PinnedWeights(revision=answer.json()["sha"])
        except (requests.RequestException, ValueError, KeyError) as failure:
            say(f"{repository}: {type(failure).__name__}")
            if old and old.revision:
                return old
            return PinnedWeights(unpinned=f"could not be asked on {self._today}")


def current(data: Registry, old: Pins, asking: Asking, templates: Path) -> Pins:
    """What the file is to hold, for exactly what the data names."""
    targets = list(data.targets.values())
    shared = load_shared_images(templates)
    packages: dict[str, dict[Platform, PinnedPackages]] = {}
    for target in targets:
        packages |= {name: lists(name, target.platforms, templates) for name in doctor.images_of(target)}
    for name, image in shared.items():
        packages |= {name: lists(name, image.platforms, templates)}
    packages[TOOL.name] = {
        platform: PinnedPackages(unpinned=TOOL_LIST) for platform in shared[TOOL.name].platforms
    }
    weights: dict[str, dict[Source, PinnedWeights]] = {}
    for weight_set in sorted(all_weights(data), key=lambda weight_set: weight_set.name):
        known = old.weights.get(weight_set.name, {})
        weights[weight_set.name] = {
            source: asking.weights(source, where, known.get(source)) for source, where in sources(weight_set)
        }
    return Pins(
        bases=digests(doctor.wanted(targets, shared), old.bases, asking),
        packages=dict(sorted(packages.items())),
        weights=weights,
        upstream=digests(doctor.wanted_of_upstream(targets), old.upstream, asking),
    )


def digests(
    images: Iterable[Wanted], old: Mapping[str, Mapping[Platform, PinnedBase]], asking: Asking
) -> dict[str, dict[Platform, PinnedBase]]:
    """The digest of each image on each platform."""
    pinned: dict[str, dict[Platform, PinnedBase]] = {}
    for wanted in sorted(images, key=lambda wanted: (wanted.image, wanted.platform)):
        image, platform = wanted.image, wanted.platform
        before = old.get(image, {}).get(platform)
        pinned.setdefault(image, {})[platform] = asking.base(image, platform, before)
    return pinned


def lists(image: str, platforms: Iterable[Platform], templates: Path) -> dict[Platform, PinnedPackages]:
    """The lists of packages of one image."""
    pinned = {}
    for platform in platforms:
        path = templates / "locks" / f"{image}.{platform.rpartition('/')[2]}.txt"
        pinned[platform] = PinnedPackages(unpinned=NO_LIST)
        if path.is_file():
            digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
            pinned[platform] = PinnedPackages(lock=path.name, digest=digest)
    return pinned


def all_weights(data: Registry) -> Iterator[WeightSet]:
    """Each weight set once."""
    sets = (weights for model in data.models.values() for weights in model.weights if not weights.made)
    yield from {weights.name: weights for weights in sets}.values()


def sources(weights: WeightSet) -> Iterator[tuple[Source, str]]:
    """The sources that have a set, and what it is called there."""
    for source, where in (
        (Source.BOS, weights.bos),
        (Source.HUGGINGFACE, weights.huggingface),
        (Source.MODELSCOPE, weights.modelscope),
    ):
        if where is not None:
            yield source, where


def text_of(pinned: Pins) -> str:
    """The file."""
    lines = [HEADER.rstrip("\n")]
    for part in ("bases", "packages", "weights", "upstream"):
        lines.append(f"{part}:")
        for name, places in getattr(pinned, part).items():
            lines.append(f"  {json.dumps(name)}:")
            for place, pin in places.items():
                lines.append(f"    {place}:")
                values = {field.name: getattr(pin, field.name) for field in dataclasses.fields(pin)}
                given = {key: value for key, value in values.items() if value is not None}
                lines += [f"      {key}: {json.dumps(value)}" for key, value in given.items()]
    return "\n".join(lines) + "\n"


def say(line: str) -> None:
    """One line to stderr."""
    sys.stderr.write(line + "\n")


def main() -> int:
    """Write the file, or compare it; the exit status."""
    check, offline = sys.argv[1:] == ["--check"], sys.argv[1:] == ["--offline"]
    templates = paths.templates()
    path = templates / pins.FILE
    old = pins.load(templates)
    wanted = text_of(current(load_registry(templates), old, Asking(online=not (check or offline)), templates))
    if path.is_file() and path.read_text("utf-8") == wanted:
        say(f"{path.name} is current")
        return 0
    if check:
        say(f"{path.name} does not hold what the data calls for: scripts/maintain/update-pins.py writes it")
        return 4
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(wanted, "utf-8")
    partial.replace(path)
    say(f"{path.name} is written")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ConfigurationError as failure:
        sys.exit(f"error: {failure.message}")
