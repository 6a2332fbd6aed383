"""Which weight sets a stack's configuration names."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import ConfigurationError
from paddock.stack import weightsinuse
from paddock.stack.configuration import Bind, Configuration
from paddock.weights.markers import TEST_MARKER
from stack_records import configuration, service


def test_the_weights_that_the_configuration_names(cpu: Configuration, models: Path) -> None:
    found = [(weights.name, weights.service, weights.directory) for weights in weightsinuse.in_use(cpu)]
    assert found == [
        ("PP-DocLayoutV3", "api", models / "PP-DocLayoutV3"),
        ("PaddleOCR-VL-1.6", "vlm", models / "PaddleOCR-VL-1.6"),
    ]


def test_a_part_that_is_switched_on_needs_its_weights(cpu: Configuration) -> None:
    pipeline = cpu.services[0].binds[0].source
    text = pipeline.read_text()
    pipeline.write_text(text.replace("use_doc_preprocessor: false", "use_doc_preprocessor: true"))
    names = [weights.name for weights in weightsinuse.in_use(cpu)]
    assert names == ["PP-DocLayoutV3", "PP-LCNet_x1_0_doc_ori", "UVDoc", "PaddleOCR-VL-1.6"]
    pipeline.write_text(text.replace("use_layout_detection: true", "use_layout_detection: false"))
    assert [weights.name for weights in weightsinuse.in_use(cpu)] == ["PaddleOCR-VL-1.6"]


def test_weights_named_in_the_environment(models: Path) -> None:
    llama = service(
        "vlm",
        environment={"PADDOCK_MODEL_DIR": "/models/X-GGUF"},
        binds=(Bind.of(models, "/models"),),
    )
    (found,) = weightsinuse.in_use(configuration(llama))
    assert (found.name, found.directory) == ("X-GGUF", models / "X-GGUF")


def test_a_pipeline_that_is_not_yaml(cpu: Configuration) -> None:
    cpu.services[0].binds[0].source.write_text("SubModules: [")
    with pytest.raises(ConfigurationError, match=r"pipeline\.yaml: not YAML"):
        weightsinuse.in_use(cpu)


def test_test_weights_are_known_by_their_marker(cpu: Configuration, models: Path) -> None:
    layout, vlm = weightsinuse.in_use(cpu)
    (models / "PaddleOCR-VL-1.6" / TEST_MARKER).write_text("")
    assert weightsinuse.is_test(vlm)
    assert not weightsinuse.is_test(layout)


def test_weights_inside_an_image_have_no_directory(tmp_path: Path) -> None:
    (tmp_path / "vlm.yaml").write_text("# reads /models/Commented\nmodel: /models/PaddleOCR-VL-1.6\n")
    offline = service("vlm", binds=(Bind.of(tmp_path / "vlm.yaml", "/etc/paddock/vlm.yaml"),))
    (weights,) = weightsinuse.in_use(configuration(offline))
    assert (weights.name, weights.directory, weights.here) == ("PaddleOCR-VL-1.6", None, None)
    assert not weightsinuse.is_test(weights)
    assert not weightsinuse.is_embedded(weights)


def test_a_set_that_is_a_link_is_followed_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the container of the tool, a link to /data is not looked for in the container's own /data."""
    (tmp_path / "data/set").mkdir(parents=True)
    (tmp_path / "srv/models").mkdir(parents=True)
    (tmp_path / "srv/models/X").symlink_to("/data/set")
    (tmp_path / "data/set" / TEST_MARKER).write_text("")
    monkeypatch.setenv("PADDOCK_HOST", str(tmp_path))
    vlm = service("vlm", environment={"MODEL": "/models/X"}, binds=(Bind.of(Path("/srv/models"), "/models"),))
    (weights,) = weightsinuse.in_use(configuration(vlm))
    assert (weights.directory, weights.here) == (Path("/srv/models/X"), tmp_path / "data/set")
    assert weightsinuse.is_test(weights)
