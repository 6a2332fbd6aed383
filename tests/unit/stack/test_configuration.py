"""What Compose says about a stack, read into records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paddock.stack.configuration import (
    AscendNeeds,
    Bind,
    Cards,
    Device,
    HostNeeds,
    NvidiaNeeds,
    Published,
    read_configuration,
    seconds,
)

RESOLVED: dict[str, Any] = {
    "name": "paddock-cpu",
    "services": {
        "api": {
            "image": "paddock/cpu-api:0.1.0",
            "pull_policy": "never",
            "ports": [
                {"host_ip": "127.0.0.1", "target": 8080, "published": "8080"},
                {"target": 9, "published": ""},
            ],
            "mem_limit": "8589934592",
            "environment": {"A": "1", "EMPTY": None},
            "healthcheck": {"start_period": "10m0s"},
            "volumes": [
                {"type": "bind", "source": "/srv/models", "target": "/models"},
                {"type": "volume", "source": "key", "target": "/var/lib/paddock"},
            ],
        },
        "vlm": {"image": "paddock/cpu-vllm:0.1.0"},
    },
}


def test_what_a_stack_resolves_to() -> None:
    configuration = read_configuration(RESOLVED)
    assert (configuration.project, configuration.host) == ("paddock-cpu", None)
    api, vlm = configuration.services
    assert api.published == (Published(host="127.0.0.1", port=8080),)
    assert api.binds == (Bind.of(Path("/srv/models"), "/models"),)
    assert (api.memory, api.start_period, api.pull_policy) == (8 * 2**30, 600.0, "never")
    assert api.environment == {"A": "1", "EMPTY": ""}
    assert (vlm.memory, vlm.start_period, vlm.pull_policy) == (None, 0.0, "")
    assert (vlm.published, vlm.binds, vlm.devices, vlm.cards) == ((), (), (), Cards())


@pytest.mark.parametrize(
    ("request_", "cards"),
    [
        ({"driver": "nvidia", "device_ids": ["0", "GPU-1"]}, Cards(named=("0", "GPU-1"))),
        ({"driver": "nvidia", "count": 8}, Cards(count=8)),
        ({"driver": "cdi", "device_ids": ["vendor.com/card=0"]}, Cards()),
    ],
)
def test_cards_of_a_service(request_: dict[str, Any], cards: Cards) -> None:
    vlm = {"deploy": {"resources": {"reservations": {"devices": [request_]}}}}
    (service,) = read_configuration({"name": "x", "services": {"vlm": vlm}}).services
    assert service.cards == cards


@pytest.mark.parametrize(
    ("document", "needs"),
    [
        (
            {
                "accelerator": "nvidia",
                "driver": "560.28.03",
                "driver_reason": "CUDA 12.6",
                "compute_capability": ">=8.0",
                "card_memory": 80,
            },
            NvidiaNeeds(
                driver="560.28.03", driver_reason="CUDA 12.6", compute_capability=">=8.0", card_memory=80
            ),
        ),
        (
            {"accelerator": "nvidia", "driver": "560.28.03", "driver_reason": "CUDA 12.6"},
            NvidiaNeeds(driver="560.28.03", driver_reason="CUDA 12.6"),
        ),
        (
            {"accelerator": "ascend", "driver": "25.2", "driver_reason": "CANN 9.1", "chip": "910B"},
            AscendNeeds(driver="25.2", driver_reason="CANN 9.1", chip="910B"),
        ),
        ({"accelerator": "of a later release", "driver": "1"}, None),
    ],
)
def test_what_a_stack_needs_of_a_host(document: dict[str, Any], needs: HostNeeds | None) -> None:
    assert read_configuration({"name": "x", "x-host": document}).host == needs


def test_paths_of_the_host_are_looked_up_where_this_process_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADDOCK_HOST", str(tmp_path))
    vlm = {
        "volumes": [{"type": "bind", "source": "/srv/models", "target": "/models"}],
        "devices": [{"source": "/dev/davinci0", "target": "/dev/davinci0"}],
    }
    (service,) = read_configuration({"name": "x", "services": {"vlm": vlm}}).services
    bind = Bind(source=Path("/srv/models"), here=tmp_path / "srv/models", target="/models")
    device = Device(node=Path("/dev/davinci0"), here=tmp_path / "dev/davinci0")
    assert (service.binds, service.devices) == ((bind,), (device,))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("10m0s", 600), ("1h2m3s", 3723), ("1.5s", 1.5), ("500ms", 0.5), ("90s", 90)],
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)
