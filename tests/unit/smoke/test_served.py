"""What a stack serves, as its configuration tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import ConfigurationError
from paddock.matrix.load import load_registry
from paddock.render.renderer import Renderer
from paddock.smoke.served import served_alone, service_with_pipeline, tasks_of
from paddock.stack.configuration import Bind, Service
from paddock.stack.folder import StackFolder
from repository import REPOSITORY
from stack_records import configuration, service


def service_with(pipeline: Path) -> Service:
    return service("api", binds=(Bind.of(pipeline, "/etc/paddock/pipeline.yaml"),))


def test_a_stack_with_a_pipeline() -> None:
    api, vlm = service_with(Path("/srv/cpu/pipeline.yaml")), service("vlm")
    assert service_with_pipeline(configuration(vlm, api)) == api
    assert service_with_pipeline(configuration(vlm)) is None


def test_a_stack_that_serves_a_model_alone() -> None:
    folder = StackFolder(path=Path("/srv/x"), name="x")
    vlm = service("vlm", environment={"PADDOCK_SERVED_NAME": "M"})
    assert served_alone(folder, configuration(service("weights"), vlm)) == vlm
    with pytest.raises(ConfigurationError, match="x: found neither a pipeline configuration"):
        served_alone(folder, configuration(service("web")))


def test_the_models_tasks_are_those_of_the_registry(tmp_path: Path) -> None:
    """Tasks are told from the rendered pipeline configuration, so that a site needs no registry."""
    registry = load_registry(REPOSITORY / "templates")
    checked: set[str] = set()
    for stack in registry.all_stacks():
        if stack.model.pipeline is None or stack.model.made:  # the embedded model has another's pipeline
            continue
        files = Renderer(REPOSITORY / "templates").stack(stack)
        text = next(text for path, text in files.items() if path.name == "pipeline.yaml")
        path = tmp_path / "pipeline.yaml"
        path.write_text(text)
        assert set(tasks_of(service_with(path))) == set(stack.model.tasks), stack.name
        checked.add(stack.model.name)
    assert len(checked) >= 3


def test_a_pipeline_configuration_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text("a: [")
    with pytest.raises(ConfigurationError, match=r"pipeline\.yaml: not YAML"):
        tasks_of(service_with(tmp_path / "pipeline.yaml"))
    (tmp_path / "pipeline.yaml").write_text("- a list")
    with pytest.raises(ConfigurationError, match=r"pipeline\.yaml: found list, expected a mapping"):
        tasks_of(service_with(tmp_path / "pipeline.yaml"))
    (tmp_path / "pipeline.yaml").unlink()
    with pytest.raises(ConfigurationError, match=r"pipeline\.yaml: cannot be read: No such file"):
        tasks_of(service_with(tmp_path / "pipeline.yaml"))
