"""What a stack serves: its pipeline, the tasks of its model, and which of its weights are test weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paddock import engine
from paddock.engine import docker
from paddock.errors import ConfigurationError
from paddock.matrix.records import Task
from paddock.smoke.verdicts import Expectation
from paddock.stack import containers, weightsinuse
from paddock.stack.configuration import Bind, Configuration, Service
from paddock.stack.containers import Container
from paddock.stack.folder import StackFolder
from paddock.stack.pipelinefile import is_pipeline, read_pipeline
from paddock.stack.weightsinuse import WeightsInUse
from paddock.weights import markers
from paddock.weights.markers import TEST_MARKER

SERVED_NAME = "PADDOCK_SERVED_NAME"  # in a VLM server's container: the name that its model answers to

_EVERY_MODEL = (Task.OCR, Task.TABLE, Task.FORMULA, Task.CHART)
_NEWER_MODELS = (Task.SPOTTING, Task.SEAL)  # from PaddleOCR-VL 1.5 on
_SEAL_SWITCH = "use_seal_recognition"


# --- what a stack is ----------------------------------------------------------------------------------------


def service_with_pipeline(configuration: Configuration) -> Service | None:
    """The service that reads a pipeline configuration; None in a stack that serves a model alone."""
    for service in configuration.services:
        if any(is_pipeline(bind.source) for bind in service.binds):
            return service
    return None


def pipeline_of(api: Service) -> Bind:
    """The pipeline configuration that a pipeline API reads."""
    return next(bind for bind in api.binds if is_pipeline(bind.source))


def served_alone(folder: StackFolder, configuration: Configuration) -> Service:
    """The VLM server of a stack without pipeline API. Raises ConfigurationError where there is none."""
    for service in configuration.services:
        if SERVED_NAME in service.environment:
            return service
    raise ConfigurationError(
        f"{folder.name}: found neither a pipeline configuration nor {SERVED_NAME}, "
        "expected a stack of paddock's",
        hint="`paddock status` shows the stacks of this engine",
    )


def tasks_of(api: Service) -> tuple[Task, ...]:
    """The tasks of the model behind a pipeline API, as its pipeline configuration tells them.

    A site has no data about models, so the pipeline's own switches are asked: the pipelines of the models
    that read seals, which also spot text, have the switch `use_seal_recognition`, on or off, and that of the
    first model has none (PaddleX 3.7.2, configs/pipelines/PaddleOCR-VL-1.5.yaml and PaddleOCR-VL.yaml). Our
    template keeps to that, and a test compares the outcome with the data of every model.
    """
    path = pipeline_of(api).source
    try:
        pipeline = read_pipeline(path)
    except OSError as failure:
        raise ConfigurationError(f"{path}: cannot be read: {failure.strerror}") from failure
    return (*_EVERY_MODEL, *_NEWER_MODELS) if _SEAL_SWITCH in pipeline else _EVERY_MODEL


# --- test weights -------------------------------------------------------------------------------------------


def test_weights_in(
    client: docker.DockerClient, configuration: Configuration, present: Mapping[str, Container]
) -> tuple[WeightsInUse, ...]:
    """The weight sets of a stack that are test weights; `present` has its containers by service."""
    return tuple(
        weights
        for weights in weightsinuse.in_use(configuration)
        if _marker(client, weights, present.get(weights.service)) is not None
    )


def expectation_of(
    client: docker.DockerClient, test: Sequence[WeightsInUse], present: Mapping[str, Container], *, api: str
) -> Expectation:
    """What to expect of a stack with these test weights; its service `api` has the layout model."""
    layout = all(weights.service != api for weights in test)
    server = next((weights for weights in test if weights.service != api), None)
    if server is None:
        return Expectation(text=None, layout=layout)
    marker = _marker(client, server, present.get(server.service)) or ""
    return Expectation(text=markers.text_in(marker) or markers.DEFAULT_TEXT, layout=layout)


def _marker(client: docker.DockerClient, weights: WeightsInUse, container: Container | None) -> str | None:
    """What the marker of a set of test weights says; None for other weights."""
    if weights.here is not None and engine.is_local():
        if not weightsinuse.is_test(weights):
            return None
        marker = weights.here / TEST_MARKER
        return marker.read_text("utf-8") if marker.is_file() else "test weights, by the lock"
    if container is None:
        return None
    data = containers.file_in(client, container, f"{weights.in_image}/{weights.name}/{TEST_MARKER}")
    return data.decode("utf-8", "replace") if data is not None else None
