"""What a stack needs of a host's cards and driver, against hosts of every kind.

A host is a `nvidia-smi` and a `npu-smi` that print what the vendors' own print, and the files of their
drivers.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fake_engine import FakeEngine
from paddock import engine
from paddock.errors import PreflightError
from paddock.stack import hostcards, preflight
from paddock.stack.configuration import (
    Bind,
    Cards,
    Configuration,
    HostNeeds,
    NvidiaNeeds,
    read_configuration,
)
from paddock.stack.folder import StackFolder
from recording import Recorder
from repository import REPOSITORY
from stack_records import configuration, service

RTX_3060 = "0, GPU-3060aaaa-0000-0000-0000-000000000000, NVIDIA GeForce RTX 3060, 8.6, 12288 MiB"
RTX_5070 = "1, GPU-5070bbbb-0000-0000-0000-000000000000, NVIDIA GeForce RTX 5070, 12.0, 12227 MiB"
OPEN_MODULE = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  "
    "Release Build  (dvs-builder@U22)  Wed Feb\n"
    "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
)
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:15:55 UTC 2025\n"
ABSENT = Path("/proc/driver/nvidia/there/is/none")
BROKEN = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."


class Host:
    """A host's programs and files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.driver = folder / "driver"
        self.driver.mkdir()

    def program(self, name: str, script: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o755)
        return path

    def nvidia(self, driver: str, *cards: str) -> None:
        """nvidia-smi of a host with these cards: `index, uuid, name, compute capability, memory`."""
        versions = "\\n".join([driver] * len(cards))
        rows = "\\n".join(cards)
        self.program(
            "nvidia-smi",
            f"""case $1 in
            --query-gpu=driver_version) printf '{versions}\\n' ;;
            --query-gpu=index,uuid,name,compute_cap,memory.total) printf '{rows}\\n' ;;
            *) exit 2 ;;
            esac""",
        )

    def ascend(self, version: str, *chips: str) -> None:
        """The driver's file, and npu-smi of a host with these chips."""
        (self.driver / "version.info").write_text(f"Version={version}\nascendhal_version=7.35.23\n", "utf-8")
        heading = "NPU ID    Chip ID    Chip Logic ID    Chip Name\\n"
        rows = "".join(f"{n}         0          {n}                {chip}\\n" for n, chip in enumerate(chips))
        self.program("npu-smi", f"test \"$*\" = 'info -m' && printf '{heading}{rows}'")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Host(tmp_path)


def needs(stack: str) -> HostNeeds:
    """What the committed stack says."""
    path = REPOSITORY / "compose" / stack / "compose.yaml"
    document = yaml.safe_load(path.read_text("utf-8"))
    found = read_configuration({"name": stack, "x-host": document["x-host"]}).host
    assert found is not None
    return found


def configured(
    host: HostNeeds | None, *, cards: Cards | None = None, binds: tuple[Bind, ...] = ()
) -> Configuration:
    vlm = service("vlm", image="a:1", binds=binds, cards=cards or Cards())
    return configuration(vlm, host=host)


def on_cards(host: HostNeeds, *names: str) -> Configuration:
    return configured(host, cards=Cards(named=names))


def refusal(configuration: Configuration, kernel_module: Path = ABSENT) -> tuple[str, str]:
    with pytest.raises(PreflightError) as refused:
        hostcards.require(configuration, kernel_module=kernel_module)
    assert refused.value.exit_code == 9
    return refused.value.message, refused.value.hint


# --- NVIDIA -------------------------------------------------------------------------------------------------


def test_the_right_card_and_driver(host: Host) -> None:
    host.nvidia("580.65.06", RTX_3060, RTX_5070)
    hostcards.require(on_cards(needs("cu126"), "0"), kernel_module=ABSENT)
    hostcards.require(on_cards(needs("sm120"), "GPU-5070bbbb"), kernel_module=ABSENT)
    for not_listed in ("MIG-3c2a5f0e-0000-0000-0000-000000000000", "0:1"):
        hostcards.require(on_cards(needs("sm120"), not_listed), kernel_module=ABSENT)


@pytest.mark.parametrize(
    ("stack", "card", "said"),
    [
        (
            "sm120",
            "0",
            "card 0 (NVIDIA GeForce RTX 3060, compute capability 8.6): expected compute capability >=12.0",
        ),
        (
            "cu126",
            "1",
            "card 1 (NVIDIA GeForce RTX 5070, compute capability 12.0): expected compute capability >=8.0",
        ),
        ("cu126", "all", "card 1 (NVIDIA GeForce RTX 5070, compute capability 12.0): expected"),
        ("cu126", "7", "cards of this host: found no 7, expected the card that the service vlm is given"),
    ],
)
def test_the_wrong_card(host: Host, stack: str, card: str, said: str) -> None:
    host.nvidia("580.65.06", RTX_3060, RTX_5070)
    message, hint = refusal(on_cards(needs(stack), card))
    assert message.startswith(said)
    assert "GPU_DEVICE in the stack's .env" in hint


def test_too_few_cards(host: Host) -> None:
    host.nvidia("580.65.06", RTX_3060)
    message, _ = refusal(configured(needs("cu126-8x80g"), cards=Cards(count=8)))
    assert message == "cards of this host: found 1, expected 8 for the service vlm"


@pytest.mark.parametrize(
    ("card", "memory", "fits"),
    [
        ("A100-SXM4-80GB, 8.0", "81920 MiB", {"cu126-8x80g"}),
        ("H20, 9.0", "143771 MiB", {"cu126-8x80g", "cu126-8x144g"}),
        ("A100-SXM4-40GB, 8.0", "40960 MiB", set()),
        ("H20, 9.0", "[N/A]", {"cu126-8x80g", "cu126-8x144g"}),
    ],
)
def test_cards_that_are_too_small(host: Host, card: str, memory: str, fits: set[str]) -> None:
    host.nvidia("580.65.06", *(f"{n}, GPU-{n}, NVIDIA {card}, {memory}" for n in range(8)))
    for name in ("cu126-8x80g", "cu126-8x144g"):
        stack = configured(needs(name), cards=Cards(count=8))
        if name in fits:
            hostcards.require(stack, kernel_module=ABSENT)
        else:
            assert "GB, expected" in refusal(stack)[0]


def test_a_driver_that_is_too_old(host: Host) -> None:
    host.nvidia("570.124.06", RTX_5070)
    message, hint = refusal(on_cards(needs("sm120"), "1"))
    assert message.startswith(
        "driver of this host: found 570.124.06, expected 575.51.03 or later: PaddlePaddle"
    )
    assert "update the driver" in hint
    hostcards.require(on_cards(needs("cu126-sglang"), "0:1"), kernel_module=ABSENT)


@pytest.mark.parametrize(("said", "least"), [(OPEN_MODULE, "570.124.06"), (MODULE, "580.65.06")])
def test_without_nvidia_smi_the_kernel_is_asked(host: Host, tmp_path: Path, said: str, least: str) -> None:
    module = tmp_path / "version"
    module.write_text(said, "utf-8")
    wanted = NvidiaNeeds(driver=least, driver_reason="x", compute_capability=">=99.0")
    hostcards.require(on_cards(wanted, "0"), kernel_module=module)  # which cards there are, nobody can tell
    newer = NvidiaNeeds(driver="581.00", driver_reason="x")
    assert f"found {least}, expected 581.00 or later: x" in refusal(on_cards(newer, "0"), module)[0]


def test_no_driver(host: Host) -> None:
    message, hint = refusal(on_cards(needs("cu126"), "0"))
    assert (
        message == "driver of this host: found none (nvidia-smi: no such program on PATH), expected NVIDIA's"
    )
    assert "install NVIDIA's driver" in hint
    host.program("nvidia-smi", f'echo "{BROKEN}"; exit 9')
    assert f"found none ({BROKEN})" in refusal(on_cards(needs("cu126"), "0"))[0]
    host.program("nvidia-smi", "exit 0")
    assert "nvidia-smi shows no card" in refusal(on_cards(needs("cu126"), "0"))[0]


# --- Ascend -------------------------------------------------------------------------------------------------


def ascend(host: Host, wanted: HostNeeds) -> Configuration:
    mounted = (
        Bind.of(host.driver, hostcards.ASCEND_DRIVER),
        Bind.of(host.folder / "npu-smi", hostcards.NPU_SMI),
    )
    return configured(wanted, binds=mounted)


@pytest.mark.parametrize("version", ["25.2.0", "25.2.RC1", "26.0.RC1", "25.5.1"])
def test_an_ascend_driver_that_fits(host: Host, version: str) -> None:
    host.ascend(version, "Ascend 910B3", "Mcu")
    hostcards.require(ascend(host, needs("ascend-910b")))


@pytest.mark.parametrize("version", ["25.0.RC1.1", "24.1.0", "23.0.3"])
def test_an_ascend_driver_that_is_too_old(host: Host, version: str) -> None:
    host.ascend(version, "Ascend 910B3")
    message, _ = refusal(ascend(host, needs("ascend-910b")))
    assert message.startswith(
        f"driver of this host: found {version}, expected 25.2 or later: CANN 9.1 works with"
    )


def test_another_ascend_chip(host: Host) -> None:
    host.ascend("25.2.0", "Ascend 310P3", "Mcu", "Ascend 310P3", "Mcu")
    hostcards.require(ascend(host, needs("ascend-310p")))
    message, hint = refusal(ascend(host, needs("ascend-910b")))
    assert message == "cards of this host: found Ascend 310P3, expected Ascend 910B"
    assert "docs/guides/ascend.md" in hint


def test_an_npu_smi_that_does_not_work_is_not_held_against_the_host(host: Host) -> None:
    host.ascend("25.2.0")
    for script in ("exit 1", "echo 'something else'"):
        host.program("npu-smi", script)
        hostcards.require(ascend(host, needs("ascend-910b")))
    (host.folder / "npu-smi").chmod(0o644)
    hostcards.require(ascend(host, needs("ascend-910b")))


def test_an_ascend_driver_without_its_file(host: Host) -> None:
    message, hint = refusal(ascend(host, needs("ascend-310p")))
    assert message.endswith(
        "driver/version.info: No such file or directory, expected the version of Ascend's driver"
    )
    assert "install Ascend HDK" in hint
    (host.driver / "version.info").write_text("package_version=1\n", "utf-8")
    assert "found no line Version=" in refusal(ascend(host, needs("ascend-310p")))[0]


# --- nothing to look at -------------------------------------------------------------------------------------


def test_a_stack_without_an_accelerator_runs_anywhere(host: Host) -> None:
    hostcards.require(configured(None), kernel_module=ABSENT)


def test_the_host_of_a_remote_engine_is_not_looked_at(
    host: Host, fake_engine: FakeEngine, report: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StackFolder(path=Path("/srv/x"), name="x")
    stack = on_cards(needs("cu126"), "0")
    fake_engine.images = {"a:1"}
    client = engine.connect()
    preflight.check(folder, stack, client=client, report=report)
    assert any(
        "cards and driver: not looked at, the engine is on another machine" in line for line in report.said
    )
    monkeypatch.setattr(engine, "is_local", lambda: True)
    with pytest.raises(PreflightError, match="driver of this host: found none"):
        preflight.check(folder, stack, client=client, report=report)
    client.close()
