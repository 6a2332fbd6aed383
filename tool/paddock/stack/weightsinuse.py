"""Which weight sets a stack's configuration names, where they lie, and whether they are test weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from paddock.errors import ConfigurationError
from paddock.paths import on_host
from paddock.stack.configuration import Bind, Configuration, Service
from paddock.weights import lockfile
from paddock.weights.lockfile import Kind
from paddock.weights.markers import EMBEDDED_MARKER, TEST_MARKER

MODELS = PurePosixPath("/models")  # in every container
_NAMED = re.compile(r"(?<![\w./-])/models/([\w.-]+)")
_PIPELINE = "pipeline.yaml"
_ELSEWHERE = "PADDOCK_WEIGHTS"  # says where upstream's images have what is linked into /models
# Which switch of the pipeline turns a module on; the other modules are always on.
_SWITCHES = {
    "LayoutDetection": "use_layout_detection",
    "DocPreprocessor": "use_doc_preprocessor",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsInUse:
    """One weight set that a service reads. `directory` None: it is inside the image."""

    name: str
    service: str
    directory: Path | None
    in_image: PurePosixPath = MODELS  # where the image has it, if it has


def in_use(configuration: Configuration) -> tuple[WeightsInUse, ...]:
    """The sets that the mounted configuration files name, in order of service and of the file.

    Raises ConfigurationError when a pipeline configuration is not YAML.
    """
    return tuple(
        WeightsInUse(
            name=name,
            service=service.name,
            directory=_directory(service, name),
            in_image=PurePosixPath(service.environment.get(_ELSEWHERE, MODELS)),
        )
        for service in configuration.services
        for name in _named_by(service)
    )


def is_test(weights: WeightsInUse) -> bool:
    """Whether a set in a models directory is test weights, by its own marker or by the lock."""
    return _is(weights, TEST_MARKER, Kind.TEST)


def is_embedded(weights: WeightsInUse) -> bool:
    """Whether a set in a models directory is of the embedded model, in the same way."""
    return _is(weights, EMBEDDED_MARKER, Kind.EMBEDDED)


def _is(weights: WeightsInUse, marker: str, kind: Kind) -> bool:
    if weights.directory is None:
        return False
    directory = on_host(weights.directory)
    if (directory / marker).exists():
        return True
    entry = lockfile.read(directory.parent).get(weights.name)
    return entry is not None and entry.kind is kind


def _named_by(service: Service) -> tuple[str, ...]:
    files = [bind.source for bind in service.binds if bind.target.startswith("/etc/paddock/")]
    names = [name for value in service.environment.values() for name in _NAMED.findall(value)]
    names += [name for file in files if file.is_file() for name in _named_in(file)]
    return tuple(dict.fromkeys(names))


def _named_in(file: Path) -> Iterator[str]:
    text = file.read_text("utf-8", errors="replace")
    if file.name == _PIPELINE:
        yield from _of_pipeline(file, text)
        return
    for line in text.splitlines():
        yield from _NAMED.findall(line.partition("#")[0])


def _of_pipeline(file: Path, text: str) -> Iterator[str]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as wrong:
        raise ConfigurationError(f"{file}: not YAML: {' '.join(str(wrong).split())}") from wrong
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}: found {type(document).__name__}, expected a mapping")
    for part in _parts(document):
        yield from (found[1] for text in _texts(part) if (found := _NAMED.match(text)))


def _parts(document: Mapping[str, Any]) -> Iterator[object]:
    for group in ("SubModules", "SubPipelines"):
        for name, part in (document.get(group) or {}).items():
            if document.get(_SWITCHES.get(name, ""), True):
                yield part


def _texts(part: object) -> Iterator[str]:
    """Every string below `part`."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for value in part.values():
            yield from _texts(value)
    elif isinstance(part, list):
        for value in part:
            yield from _texts(value)


def _directory(service: Service, name: str) -> Path | None:
    bind = models_bind(service.binds)
    return bind.source / name if bind is not None else None


def models_bind(binds: Sequence[Bind]) -> Bind | None:
    """The host folder that a container sees as /models."""
    return next((bind for bind in binds if bind.target == str(MODELS)), None)
