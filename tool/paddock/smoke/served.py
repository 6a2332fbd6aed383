"""What a stack serves: which service has the pipeline, which tasks its model has, which weights are test
weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from paddock import engine
from paddock.engine import docker
from paddock.errors import ConfigurationError
from paddock.matrix.records import Task
from paddock.smoke.verdicts import Expectation
from paddock.stack import containers, weightsinuse
from paddock.stack.configuration import Bind, Configuration, Service
from paddock.stack.containers import Container
from paddock.stack.folder import StackFolder
from paddock.stack.weightsinuse import WeightsInUse
from paddock.weights import markers
from paddock.weights.markers import TEST_MARKER

SERVED_NAME = "PADDOCK_SERVED_NAME"  # in a VLM server's container: the name that its model answers to

_EVERY_MODEL = (Task.OCR, Task.TABLE, Task.FORMULA, Task.CHART)
_NEWER_MODELS = (Task.SPOTTING, Task.SEAL)

# --- what a stack is ----------------------------------------------------------------------------------------


def service_with_pipeline(configuration: Configuration) -> Service | None:
    """The service that reads a pipeline configuration; None in a stack that serves a model alone."""
    return next((each for each in configuration.services if any(map(_is_pipeline, each.binds))), None)


def pipeline(api: Service) -> Bind:
    return next(bind for bind in api.binds if _is_pipeline(bind))


def _is_pipeline(bind: Bind) -> bool:
    return bind.source.name.startswith("pipeline") and bind.source.suffix == ".yaml"


def served_alone(folder: StackFolder, configuration: Configuration) -> Service:
    for service in configuration.services:
        if SERVED_NAME in service.environment:
            return service
    raise ConfigurationError(
        f"{folder.called}: found neither pipeline configuration nor {SERVED_NAME}, expected a stack of paddock's",
        hint="`paddock status` shows the stacks of this engine",
    )


def tasks_of(api: Service) -> tuple[Task, ...]:
    """The tasks of a stack's model: PaddleX's pipelines of models that read seals have a switch for them."""
    source = pipeline(api).source
    try:
        configuration = yaml.safe_load(source.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as failure:
        raise ConfigurationError(f"{source}: cannot be read: {' '.join(str(failure).split())}") from failure
    if not isinstance(configuration, dict):
        raise ConfigurationError(f"{source}: found {type(configuration).__name__}, expected a mapping")
    return (*_EVERY_MODEL, *(_NEWER_MODELS if "use_seal_recognition" in configuration else ()))


def test_weights_in(
    client: docker.DockerClient, configuration: Configuration, present: Mapping[str, Container]
) -> tuple[WeightsInUse, ...]:
    return tuple(
        each
        for each in weightsinuse.in_use(configuration)
        if _marker(client, each, present.get(each.service))
    )


def _marker(client: docker.DockerClient, weights: WeightsInUse, container: Container | None) -> str | None:
    """What the marker of a set of test weights says; None for other weights."""
    if weights.directory is not None and engine.is_local():
        if not weightsinuse.is_test(weights):
            return None
        marker = weights.directory / TEST_MARKER
        return marker.read_text("utf-8") if marker.is_file() else "test weights, by the lock"
    path = f"{weights.in_image}/{weights.name}/{TEST_MARKER}"
    data = containers.file_in(client, container, path) if container is not None else None
    return data.decode("utf-8", "replace") if data is not None else None


def expectation_of(
    client: docker.DockerClient, test: Sequence[WeightsInUse], present: Mapping[str, Container], *, api: str
) -> Expectation:
    layout = all(each.service != api for each in test)
    server = next((each for each in test if each.service != api), None)
    if server is None:
        return Expectation(text=None, layout=layout)
    marker = _marker(client, server, present.get(server.service)) or ""
    return Expectation(text=markers.text_in(marker) or markers.DEFAULT_TEXT, layout=layout)
