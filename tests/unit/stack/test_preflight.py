"""What is checked on a host before a stack starts."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from paddock import engine
from paddock.errors import ConfigurationError, PreflightError
from paddock.stack import preflight, weightsinuse
from paddock.stack.configuration import Bind, Configuration, Published, Service
from paddock.stack.folder import StackFolder
from paddock.weights.markers import TEST_MARKER

FOLDER = StackFolder(path=Path("/srv/cpu"), called="cpu", options="cpu --offline")


def service(name: str = "api", **changes) -> Service:
    given = {
        "name": name,
        "image": "paddock/cpu-api:0.1.0",
        "pull_policy": "never",
        "published": (),
        "binds": (),
        "environment": {},
        "memory": None,
        "start_period": 0.0,
    }
    return Service(**{**given, **changes})


def configuration(*services: Service) -> Configuration:
    return Configuration(project="paddock-cpu", services=services)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("PP-DocLayoutV3", "PaddleOCR-VL-1.6"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text("{}")
    return tmp_path / "models"


@pytest.fixture
def cpu(models: Path, repository: Path, tmp_path: Path) -> Configuration:
    """The cpu stack as its folder in the repository describes it."""
    stack = shutil.copytree(repository / "compose/cpu", tmp_path / "stack")

    def binds(name: str) -> tuple[Bind, ...]:
        configured = Bind(source=stack / name, target=f"/etc/paddock/{name}")
        return (configured, Bind(source=models, target="/models"))

    return configuration(
        service("api", binds=binds("pipeline.yaml")), service("vlm", binds=binds("vlm.yaml"))
    )


# --- files and weights --------------------------------------------------------------------------------------


def test_all_is_there(cpu: Configuration) -> None:
    preflight.require_files(cpu)
    preflight.require_weights(FOLDER, weightsinuse.in_use(cpu))


def test_the_weights_that_the_configuration_names(cpu: Configuration, models: Path) -> None:
    found = [(each.name, each.service, each.directory) for each in weightsinuse.in_use(cpu)]
    assert found == [
        ("PP-DocLayoutV3", "api", models / "PP-DocLayoutV3"),
        ("PaddleOCR-VL-1.6", "vlm", models / "PaddleOCR-VL-1.6"),
    ]


def test_a_part_that_is_switched_on_needs_its_weights(cpu: Configuration) -> None:
    pipeline = cpu.services[0].binds[0].source
    text = pipeline.read_text()
    pipeline.write_text(text.replace("use_doc_preprocessor: false", "use_doc_preprocessor: true"))
    names = [each.name for each in weightsinuse.in_use(cpu)]
    assert names == ["PP-DocLayoutV3", "PP-LCNet_x1_0_doc_ori", "UVDoc", "PaddleOCR-VL-1.6"]
    pipeline.write_text(text.replace("use_layout_detection: true", "use_layout_detection: false"))
    assert [each.name for each in weightsinuse.in_use(cpu)] == ["PaddleOCR-VL-1.6"]


def test_weights_named_in_the_environment(models: Path) -> None:
    llama = service(
        "vlm",
        environment={"PADDOCK_MODEL_DIR": "/models/X-GGUF"},
        binds=(Bind(source=models, target="/models"),),
    )
    (found,) = weightsinuse.in_use(configuration(llama))
    assert (found.name, found.directory) == ("X-GGUF", models / "X-GGUF")


def test_weights_inside_an_image_are_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "vlm.yaml").write_text("# reads /models/Commented\nmodel: /models/PaddleOCR-VL-1.6\n")
    offline = service("vlm", binds=(Bind(source=tmp_path / "vlm.yaml", target="/etc/paddock/vlm.yaml"),))
    (found,) = weightsinuse.in_use(configuration(offline))
    assert (found.name, found.directory) == ("PaddleOCR-VL-1.6", None)
    preflight.require_weights(FOLDER, [found])


def test_a_pipeline_that_is_not_yaml(cpu: Configuration) -> None:
    cpu.services[0].binds[0].source.write_text("SubModules: [")
    with pytest.raises(ConfigurationError, match=r"pipeline\.yaml: not YAML"):
        weightsinuse.in_use(cpu)


def test_missing_and_empty_sets_are_all_named(cpu: Configuration, models: Path) -> None:
    shutil.rmtree(models / "PP-DocLayoutV3")
    (models / "PaddleOCR-VL-1.6/config.json").unlink()
    with pytest.raises(PreflightError) as refused:
        preflight.require_weights(FOLDER, weightsinuse.in_use(cpu))
    assert refused.value.exit_code == 9
    assert f"{models}/PP-DocLayoutV3 (for api), {models}/PaddleOCR-VL-1.6 (for vlm)" in refused.value.message
    assert "paddock models fetch" in refused.value.hint


def test_a_missing_models_folder(cpu: Configuration, models: Path) -> None:
    shutil.rmtree(models)
    with pytest.raises(PreflightError, match="the weights folder") as refused:
        preflight.require_files(cpu)
    assert "MODELS_DIR" in refused.value.hint


def test_a_models_folder_that_is_a_file(cpu: Configuration, models: Path) -> None:
    shutil.rmtree(models)
    models.write_text("")
    with pytest.raises(PreflightError, match="found a file"):
        preflight.require_files(cpu)


def test_a_missing_configuration_file(cpu: Configuration) -> None:
    cpu.services[1].binds[0].source.unlink()
    with pytest.raises(PreflightError, match=r"vlm\.yaml: is not there"):
        preflight.require_files(cpu)


def test_test_weights_are_known_by_their_marker(cpu: Configuration, models: Path) -> None:
    layout, vlm = weightsinuse.in_use(cpu)
    (models / "PaddleOCR-VL-1.6" / TEST_MARKER).write_text("")
    assert weightsinuse.is_test(vlm)
    assert not weightsinuse.is_test(layout)


# --- images -------------------------------------------------------------------------------------------------


def test_missing_images_are_all_named(fake_engine) -> None:
    stack = configuration(
        service(image="a:1"), service("vlm", image="b:1"), service("x", image="c:1", pull_policy="")
    )
    fake_engine.images = {"b:1"}
    client = engine.connect()
    with pytest.raises(PreflightError, match="found no image a:1 in this engine") as refused:
        preflight.require_images(FOLDER, stack, client=client)
    assert "`paddock build cpu --offline`" in refused.value.hint
    fake_engine.images = {"a:1", "b:1"}
    preflight.require_images(FOLDER, stack, client=client)
    fetching = configuration(service(image="a:1"), service("weights", image="harbor:5000/ocr/tool:2"))
    with pytest.raises(PreflightError, match=r"found no image harbor:5000/ocr/tool:2 in") as refused:
        preflight.require_images(FOLDER, fetching, client=client)
    assert "build them (`paddock build tool`)" in refused.value.hint
    client.close()


def test_upstreams_images_are_not_to_be_built(fake_engine) -> None:
    stack = configuration(service(image="there/paddleocr-vl:1-offline", upstream=True))
    client = engine.connect()
    with pytest.raises(PreflightError, match="found no image there/paddleocr-vl:1-offline") as refused:
        preflight.require_images(FOLDER, stack, client=client)
    assert "`docker pull there/paddleocr-vl:1-offline`" in refused.value.hint
    assert "paddock build" not in refused.value.hint
    client.close()


# --- ports --------------------------------------------------------------------------------------------------


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine of the test counts as one of this machine."""
    monkeypatch.setattr(engine, "is_local", lambda: True)


def publishing(port: int, host: str = "127.0.0.1") -> Configuration:
    return configuration(service(published=(Published(host=host, port=port),)))


def test_a_free_port(fake_engine, local: None) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = engine.connect()
    preflight.require_ports(publishing(port), client=client)
    client.close()


def test_a_port_of_another_program(fake_engine, local: None) -> None:
    client = engine.connect()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for host in ("127.0.0.1", ""):
            with pytest.raises(PreflightError, match=rf"{port}: taken by another program") as refused:
                preflight.require_ports(publishing(port, host), client=client)
        assert "--port" in refused.value.hint
    client.close()


def test_an_address_that_is_not_of_this_host(fake_engine, local: None) -> None:
    client = engine.connect()
    with pytest.raises(PreflightError, match="cannot be listened on"):
        preflight.require_ports(publishing(18080, "192.0.2.1"), client=client)
    client.close()


@pytest.mark.parametrize("theirs", ["127.0.0.1", "0.0.0.0", "::", ""])
def test_a_port_of_another_stack(fake_engine, describe, theirs: str) -> None:
    bindings = {"8080/tcp": [{"HostIp": theirs, "HostPort": "8080"}]}
    labels = {"com.docker.compose.project": "other", "com.docker.compose.project.working_dir": "/srv/other"}
    fake_engine.containers = [
        describe(Name="/other-api-1", HostConfig__PortBindings=bindings, Config__Labels=labels),
    ]
    client = engine.connect()
    with pytest.raises(
        PreflightError, match=r"taken by the container other-api-1 of the stack other \(/srv/other\)"
    ):
        preflight.require_ports(publishing(8080), client=client)
    client.close()


def test_a_port_that_this_stack_itself_holds(fake_engine, describe) -> None:
    bindings = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
    fake_engine.containers = [describe(HostConfig__PortBindings=bindings)]
    client = engine.connect()
    preflight.require_ports(publishing(8080), client=client)
    client.close()


# --- memory -------------------------------------------------------------------------------------------------


def test_short_memory_is_a_warning(fake_engine, report) -> None:
    fake_engine.memory_total = 12 * 10**9
    client = engine.connect()
    stack = configuration(service(memory=8 * 10**9), service("vlm", memory=8 * 10**9))
    preflight._warn_of_memory(stack, client=client, report=report)
    assert "16.0 GB together, the host has 12.0 GB" in report.warned[0]
    preflight._warn_of_memory(configuration(service(memory=8 * 10**9)), client=client, report=report)
    assert len(report.warned) == 1
    client.close()
