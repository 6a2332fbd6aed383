"""Which weight sets a stack's configuration names, where they lie, and whether they are test weights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from paddock.paths import on_host
from paddock.stack.configuration import Bind, Configuration, Service
from paddock.stack.pipelinefile import is_pipeline, read_pipeline
from paddock.weights import lockfile
from paddock.weights.lockfile import Kind
from paddock.weights.markers import EMBEDDED_MARKER, TEST_MARKER

MODELS = PurePosixPath("/models")  # in every container
CONFIGURATION = "/etc/paddock/"  # where a container sees the configuration that was rendered for it

_WEIGHT_SET = re.compile(r"(?<![\w./-])/models/([\w.-]+)")
_MODELS_IN_IMAGE = "PADDOCK_WEIGHTS"  # where upstream's images have what is linked into /models
# The switch of the pipeline that turns a module on; modules without one are always on.
_SWITCHES = {
    "LayoutDetection": "use_layout_detection",
    "DocPreprocessor": "use_doc_preprocessor",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsInUse:
    """One weight set that a service reads.

    `directory` is where the host has it, as Compose names it, and `here` the same as this process sees it;
    both are None where the set is inside the image, below `in_image`.
    """

    name: str
    service: str
    directory: Path | None
    here: Path | None
    in_image: PurePosixPath = MODELS


def in_use(configuration: Configuration) -> tuple[WeightsInUse, ...]:
    """The sets that the mounted configuration files name, in order of service and of the file.

    Raises ConfigurationError where a pipeline configuration is not YAML.
    """
    return tuple(
        _weights(service, name) for service in configuration.services for name in _names_in_service(service)
    )


def is_test(weights: WeightsInUse) -> bool:
    """Whether a set in a models directory is test weights, by its own marker or by the lock."""
    return _is_kind(weights, TEST_MARKER, Kind.TEST)


def is_embedded(weights: WeightsInUse) -> bool:
    """Whether a set in a models directory belongs to the embedded model, by its own marker or by the lock."""
    return _is_kind(weights, EMBEDDED_MARKER, Kind.EMBEDDED)


def models_bind(binds: Sequence[Bind]) -> Bind | None:
    """The host folder that a container sees as /models."""
    return next((bind for bind in binds if bind.target == str(MODELS)), None)


def _weights(service: Service, name: str) -> WeightsInUse:
    bind = models_bind(service.binds)
    directory = bind.source / name if bind is not None else None
    return WeightsInUse(
        name=name,
        service=service.name,
        directory=directory,
        here=on_host(directory) if directory is not None else None,  # it may be a link to elsewhere
        in_image=PurePosixPath(service.environment.get(_MODELS_IN_IMAGE, MODELS)),
    )


def _is_kind(weights: WeightsInUse, marker: str, kind: Kind) -> bool:
    if weights.here is None:
        return False
    if (weights.here / marker).exists():
        return True
    entry = lockfile.read(weights.here.parent).get(weights.name)
    return entry is not None and entry.kind is kind


def _names_in_service(service: Service) -> tuple[str, ...]:
    names = [name for value in service.environment.values() for name in _WEIGHT_SET.findall(value)]
    for bind in service.binds:
        if bind.target.startswith(CONFIGURATION) and bind.source.is_file():
            names += _names_in_file(bind.source)
    return tuple(dict.fromkeys(names))


def _names_in_file(path: Path) -> Iterator[str]:
    if is_pipeline(path):
        yield from _names_in_pipeline(read_pipeline(path))
        return
    for line in path.read_text("utf-8", errors="replace").splitlines():
        yield from _WEIGHT_SET.findall(line.partition("#")[0])


def _names_in_pipeline(pipeline: Mapping[str, Any]) -> Iterator[str]:
    for module in _active_modules(pipeline):
        for text in _strings(module):
            if match := _WEIGHT_SET.match(text):
                yield match[1]


def _active_modules(pipeline: Mapping[str, Any]) -> Iterator[object]:
    for group in ("SubModules", "SubPipelines"):
        for name, module in (pipeline.get(group) or {}).items():
            if pipeline.get(_SWITCHES.get(name, ""), True):
                yield module


def _strings(value: object) -> Iterator[str]:
    """Every string at any depth of a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
