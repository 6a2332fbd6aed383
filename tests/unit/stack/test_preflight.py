"""What is checked on a host before a stack starts."""

from __future__ import annotations

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from fake_engine import FakeEngine, inspected
from paddock import engine
from paddock.errors import PreflightError
from paddock.stack import preflight, weightsinuse
from paddock.stack.configuration import Bind, Configuration, Device, Published
from paddock.stack.folder import StackFolder
from programs import free_port
from recording import Recorder
from stack_records import configuration, service

FOLDER = StackFolder(path=Path("/srv/cpu"), name="cpu", options="cpu --offline")


def devices(*nodes: Path) -> tuple[Device, ...]:
    return tuple(Device.of(node) for node in nodes)


# --- files and weights --------------------------------------------------------------------------------------


def test_all_is_there(cpu: Configuration) -> None:
    preflight.require_files(cpu)
    preflight.require_weights(FOLDER, weightsinuse.in_use(cpu))


def test_what_only_its_owner_may_read_is_refused(
    cpu: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As git leaves a checkout that was made under umask 077."""
    monkeypatch.delenv("RUN_AS", raising=False)
    path = tmp_path / "stack/vlm.yaml"
    stack = StackFolder(path=tmp_path / "stack", name="cpu")
    preflight.require_readable(stack, cpu)
    path.chmod(0o600)
    with pytest.raises(
        PreflightError, match=r"vlm\.yaml: found the mode 0600, expected .* 10001 may"
    ) as refused:
        preflight.require_readable(stack, cpu)
    assert f"`chmod -R a+rX {path}`" in refused.value.hint
    preflight.require_readable(stack.with_environment({"RUN_AS": f"{path.stat().st_uid}:0"}), cpu)
    if path.stat().st_gid == 0:
        path.chmod(0o640)
        preflight.require_readable(stack, cpu)


def test_weights_inside_an_image_are_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "vlm.yaml").write_text("model: /models/PaddleOCR-VL-1.6\n")
    offline = service("vlm", binds=(Bind.of(tmp_path / "vlm.yaml", "/etc/paddock/vlm.yaml"),))
    weights = weightsinuse.in_use(configuration(offline))
    assert len(weights) == 1
    preflight.require_weights(FOLDER, weights)


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


def test_a_missing_file_of_the_driver_is_not_ours_to_render(tmp_path: Path) -> None:
    bind = Bind.of(tmp_path / "npu-smi", "/usr/local/bin/npu-smi")
    with pytest.raises(
        PreflightError, match="npu-smi: is not there, expected /usr/local/bin/npu-smi"
    ) as refused:
        preflight.require_files(configuration(service("vlm", binds=(bind,))))
    assert "driver" in refused.value.hint and "render" not in refused.value.hint


def test_a_missing_configuration_is_ours_to_render(tmp_path: Path) -> None:
    bind = Bind.of(tmp_path / "vlm.yaml", "/etc/paddock/vlm.yaml")
    with pytest.raises(PreflightError) as refused:
        preflight.require_files(configuration(service("vlm", binds=(bind,))))
    assert "paddock render" in refused.value.hint


def test_keys_that_clients_must_give_are_looked_for_where_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "api-keys"
    named = configuration(service("api", binds=(Bind.of(folder, "/etc/paddock/api-keys"),)))
    with pytest.raises(PreflightError, match="api-keys: is not there") as refused:
        preflight.require_files(named)
    assert f"paddock keys add NAME --file {folder}/keys" in refused.value.hint
    folder.mkdir()
    with pytest.raises(PreflightError, match="api-keys: found no file `keys` in it") as refused:
        preflight.require_files(named)
    assert "API_KEYS_DIR" in refused.value.hint
    (folder / "keys").touch()
    preflight.require_files(named)


def test_the_certificate_of_a_site_is_looked_for_where_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    named = configuration(service("door", binds=(Bind.of(folder, "/etc/paddock/tls"),)))
    with pytest.raises(PreflightError, match="tls: is not there") as refused:
        preflight.require_files(named)
    assert "door.pem" in refused.value.hint
    folder.mkdir()
    with pytest.raises(PreflightError, match=r"tls: found no file `door\.pem` in it, expected the door's"):
        preflight.require_files(named)
    (folder / "door.pem").touch()
    preflight.require_files(named)


def test_no_keys_are_looked_for_where_none_are_asked_for() -> None:
    nothing = Bind.of(Path("/dev/null"), "/etc/paddock/api-keys")
    preflight.require_files(configuration(service("api", binds=(nothing,))))


# --- device nodes -------------------------------------------------------------------------------------------


def test_devices_that_are_there_are_fine(tmp_path: Path) -> None:
    node = tmp_path / "davinci0"
    node.touch()
    preflight.require_devices(configuration(service("api"), service("vlm", devices=devices(node))))


def test_a_card_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    for name in ("davinci0", "davinci1", "davinci_manager"):
        (tmp_path / name).touch()
    with pytest.raises(PreflightError) as refused:
        preflight.require_devices(configuration(service("vlm", devices=devices(tmp_path / "davinci4"))))
    assert refused.value.message == (
        f"{tmp_path}/davinci4: is not there, expected the device node that the service vlm is given"
    )
    assert refused.value.hint == (
        f"this host has {tmp_path}/davinci0, {tmp_path}/davinci1; the stack's .env says which one to use"
    )


@pytest.mark.parametrize("name", ["davinci0", "davinci_manager"])
def test_without_any_card_the_driver_is_what_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(PreflightError) as refused:
        preflight.require_devices(configuration(service("vlm", devices=devices(tmp_path / name))))
    assert "driver" in refused.value.hint


# --- images -------------------------------------------------------------------------------------------------


def test_missing_images_are_all_named(fake_engine: FakeEngine) -> None:
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
    site = configuration(service(image="a:1"), service("door", image="paddock/door:0.1.0"))
    with pytest.raises(PreflightError, match="found no image paddock/door") as refused:
        preflight.require_images(FOLDER, site, client=client)
    assert "build them (`paddock build site`)" in refused.value.hint
    client.close()


def test_upstreams_images_are_not_to_be_built(fake_engine: FakeEngine) -> None:
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


def test_a_free_port(fake_engine: FakeEngine, local: None) -> None:
    client = engine.connect()
    preflight.require_ports(publishing(free_port()), client=client)
    client.close()


def test_a_port_of_another_program(fake_engine: FakeEngine, local: None) -> None:
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


def test_an_address_that_is_not_of_this_host(fake_engine: FakeEngine, local: None) -> None:
    client = engine.connect()
    with pytest.raises(PreflightError, match="cannot be listened on"):
        preflight.require_ports(publishing(18080, "192.0.2.1"), client=client)
    client.close()


@pytest.mark.parametrize("theirs", ["127.0.0.1", "0.0.0.0", "::", ""])
def test_a_port_of_another_stack(fake_engine: FakeEngine, theirs: str) -> None:
    bindings = {"8080/tcp": [{"HostIp": theirs, "HostPort": "8080"}]}
    labels = {"com.docker.compose.project": "other", "com.docker.compose.project.working_dir": "/srv/other"}
    fake_engine.containers = [
        inspected(Name="/other-api-1", HostConfig__PortBindings=bindings, Config__Labels=labels),
    ]
    client = engine.connect()
    with pytest.raises(
        PreflightError, match=r"taken by the container other-api-1 of the stack other \(/srv/other\)"
    ):
        preflight.require_ports(publishing(8080), client=client)
    client.close()


def test_a_port_that_this_stack_itself_holds(fake_engine: FakeEngine) -> None:
    bindings = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}
    fake_engine.containers = [inspected(HostConfig__PortBindings=bindings)]
    client = engine.connect()
    preflight.require_ports(publishing(8080), client=client)
    client.close()


# --- warnings -----------------------------------------------------------------------------------------------


def test_short_memory_is_a_warning() -> None:
    stack = configuration(service(memory=8 * 10**9), service("vlm", memory=8 * 10**9))
    assert "16.0 GB together, the host has 12.0 GB" in preflight.memory_warning(stack, 12 * 10**9)
    assert "API_REPLICAS" not in preflight.memory_warning(stack, 12 * 10**9)
    assert preflight.memory_warning(stack, 16 * 10**9) == ""
    site = configuration(service(memory=8 * 10**9, replicas=3), service("door", memory=10**9))
    warning = preflight.memory_warning(site, 12 * 10**9)
    assert "25.0 GB together" in warning
    assert "3 of them are workers, and API_REPLICAS says how many" in warning
    assert preflight.memory_warning(stack, 0) == ""
    assert preflight.memory_warning(configuration(service(memory=8 * 10**9)), 12 * 10**9) == ""


def test_warnings_do_not_stop_a_start(
    fake_engine: FakeEngine, local: None, cpu: Configuration, report: Recorder
) -> None:
    fake_engine.memory_total = 12 * 10**9
    fake_engine.images = {"paddock/cpu-api:0.1.0"}
    greedy = replace(cpu, services=tuple(replace(part, memory=8 * 10**9) for part in cpu.services))
    client = engine.connect()
    preflight.check(FOLDER, greedy, client=client, report=report)
    assert len(report.warned) == 1
    assert "16.0 GB together, the host has 12.0 GB" in report.warned[0]
    client.close()


def test_a_card_that_two_services_are_given_is_told() -> None:
    manager, first, second = (Path(f"/dev/davinci{card}") for card in ("_manager", 0, 1))
    apart = configuration(
        service("api", devices=devices(second, manager)), service("vlm", devices=devices(first, manager))
    )
    assert list(preflight.cards_given_twice(apart, {})) == []
    together = configuration(
        service("api", devices=devices(first, manager)), service("vlm", devices=devices(first, manager))
    )
    (warning,) = preflight.cards_given_twice(together, {})
    assert warning.startswith("/dev/davinci0: given to the service vlm and to the service api; ")


def test_a_card_that_another_container_has_is_told() -> None:
    wanted = configuration(service("vlm", devices=devices(Path("/dev/davinci4"))))
    (warning,) = preflight.cards_given_twice(wanted, {Path("/dev/davinci4"): "the container other-vlm-1"})
    assert "the container other-vlm-1" in warning
    assert (
        list(preflight.cards_given_twice(wanted, {Path("/dev/davinci5"): "the container other-vlm-1"})) == []
    )
