"""What the preflight says about the hardware that a stack is given: device nodes and the files of its driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import PreflightError
from paddock.matrix.fieldtypes import FrozenDict
from paddock.stack import preflight
from paddock.stack.configuration import Bind, Configuration, Service


def service(name: str, *devices: Path, binds: tuple[Bind, ...] = ()) -> Service:
    return Service(
        name=name,
        image="example",
        pull_policy="never",
        published=(),
        binds=binds,
        devices=devices,
        environment=FrozenDict(),
        memory=None,
        start_period=1.0,
    )


def configuration(*services: Service) -> Configuration:
    return Configuration(project="example", services=services)


def test_devices_that_are_there_are_fine(tmp_path: Path) -> None:
    node = tmp_path / "davinci0"
    node.touch()
    preflight.require_devices(configuration(service("api"), service("vlm", node)))


def test_a_card_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    for name in ("davinci0", "davinci1", "davinci_manager"):
        (tmp_path / name).touch()
    with pytest.raises(PreflightError) as caught:
        preflight.require_devices(configuration(service("vlm", tmp_path / "davinci4")))
    assert caught.value.message == (
        f"{tmp_path}/davinci4: is not there, expected the device node that the service vlm is given"
    )
    assert caught.value.hint == (
        f"this host has {tmp_path}/davinci0, {tmp_path}/davinci1; the stack's .env says which one to take"
    )


@pytest.mark.parametrize("name", ["davinci0", "davinci_manager"])
def test_without_any_card_the_driver_is_what_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(PreflightError) as caught:
        preflight.require_devices(configuration(service("vlm", tmp_path / name)))
    assert "driver" in caught.value.hint


def test_a_missing_file_of_the_driver_is_not_ours_to_render(tmp_path: Path) -> None:
    bind = Bind(source=tmp_path / "npu-smi", target="/usr/local/bin/npu-smi")
    with pytest.raises(
        PreflightError, match="npu-smi: is not there, expected /usr/local/bin/npu-smi"
    ) as caught:
        preflight.require_files(configuration(service("vlm", binds=(bind,))))
    assert "driver" in caught.value.hint and "render" not in caught.value.hint


def test_a_missing_configuration_is_ours_to_render(tmp_path: Path) -> None:
    bind = Bind(source=tmp_path / "vlm.yaml", target="/etc/paddock/vlm.yaml")
    with pytest.raises(PreflightError) as caught:
        preflight.require_files(configuration(service("vlm", binds=(bind,))))
    assert "paddock render" in caught.value.hint


def test_a_card_that_two_services_are_given_is_told() -> None:
    manager, first, second = (Path(f"/dev/davinci{each}") for each in ("_manager", 0, 1))
    apart = configuration(service("api", second, manager), service("vlm", first, manager))
    assert list(preflight.cards_given_twice(apart, {})) == []
    together = configuration(service("api", first, manager), service("vlm", first, manager))
    (warning,) = preflight.cards_given_twice(together, {})
    assert warning.startswith("/dev/davinci0: given to the service vlm and to the service api; ")


def test_a_card_that_another_container_has_is_told() -> None:
    wanted = configuration(service("vlm", Path("/dev/davinci4")))
    (warning,) = preflight.cards_given_twice(wanted, {Path("/dev/davinci4"): "the container other-vlm-1"})
    assert "the container other-vlm-1" in warning
    assert (
        list(preflight.cards_given_twice(wanted, {Path("/dev/davinci5"): "the container other-vlm-1"})) == []
    )
