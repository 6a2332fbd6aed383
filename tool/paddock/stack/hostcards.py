"""The cards of this host and their driver, and whether they are what a stack needs.

Asks `nvidia-smi`, or the kernel where that is missing; Ascend's driver has its version in a file, and its
`npu-smi` names the chips. Only the host of a local engine can be asked. What cannot be found out never stops
a start.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock import process
from paddock.engine import Release
from paddock.errors import PreflightError, ProgramError
from paddock.paths import on_host
from paddock.stack.configuration import (
    AscendNeeds,
    Cards,
    Configuration,
    HostNeeds,
    NvidiaNeeds,
    Service,
)

# Where the containers of an Ascend stack see the host's driver; where the host has it, the stack says.
ASCEND_DRIVER = "/usr/local/Ascend/driver"
NPU_SMI = "/usr/local/bin/npu-smi"
NVIDIA_KERNEL_MODULE = Path("/proc/driver/nvidia/version")

_PART_OF_A_CARD = re.compile(r"MIG-|\d+:\d+$")  # nvidia-smi does not list these as cards
_LIMIT = 60.0  # seconds; nvidia-smi wakes cards that sleep
_TABLE = "docs/reference/targets.md has the cards and drivers of every target"


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One NVIDIA card as nvidia-smi shows it."""

    index: str
    uuid: str
    name: str
    compute_capability: str
    memory: float | None  # GB; None where the card has no memory of its own

    def __str__(self) -> str:
        return f"{self.index} ({self.name}, compute capability {self.compute_capability})"


def require(configuration: Configuration, *, kernel_module: Path = NVIDIA_KERNEL_MODULE) -> None:
    """Raise PreflightError where this host's driver or cards are not what the stack says that it needs."""
    match configuration.host:
        case NvidiaNeeds() as needs:
            _require_driver(needs, _nvidia_driver(kernel_module))
            _require_nvidia_cards(needs, configuration.services, _nvidia_cards())
        case AscendNeeds() as needs:
            _require_driver(needs, _ascend_driver(_host_path(configuration, ASCEND_DRIVER)))
            _require_chip(needs, _chips(_host_path(configuration, NPU_SMI)))


def driver(*, kernel_module: Path = NVIDIA_KERNEL_MODULE, ascend: Path = Path(ASCEND_DRIVER)) -> str | None:
    """Vendor and version of the driver of this host's cards; None where it has none that we know."""
    if version := _loaded_version(kernel_module):
        return f"nvidia {version}"
    try:
        return f"ascend {_ascend_driver(ascend)}"
    except PreflightError:
        return None


def _require_driver(needs: HostNeeds, version: str) -> None:
    present, oldest = Release.of(version), Release.of(needs.driver)
    if present and oldest and present < oldest:
        raise PreflightError(
            f"driver of this host: found {version}, expected {needs.driver} or later: {needs.driver_reason}",
            hint=f"update the driver, or choose a target for an older one; {_TABLE}",
        )


# --- NVIDIA -------------------------------------------------------------------------------------------------


def _nvidia_driver(kernel_module: Path) -> str:
    """The driver's version. Raises PreflightError where there is none."""
    try:
        return _ask_nvidia_smi("driver_version")[0][0]
    except (ProgramError, IndexError) as failure:
        if version := _loaded_version(kernel_module):
            return version
        reason = failure.last_line if isinstance(failure, ProgramError) else "nvidia-smi shows no card"
        raise PreflightError(
            f"driver of this host: found none ({reason}), expected NVIDIA's",
            hint="install NVIDIA's driver and its container toolkit on this host, or choose the target cpu",
        ) from failure


def _loaded_version(kernel_module: Path) -> str:
    """The version of the kernel module that is loaded; empty where there is none."""
    try:
        first_line = kernel_module.read_text("utf-8", "replace").partition("\n")[0]
    except OSError:
        return ""
    match = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", first_line)
    return match[1] if match else ""


def _nvidia_cards() -> list[Card]:
    """All cards; empty where nvidia-smi cannot tell."""
    try:
        rows = _ask_nvidia_smi("index", "uuid", "name", "compute_cap", "memory.total")
    except ProgramError:
        return []
    return [
        Card(index=index, uuid=uuid, name=name, compute_capability=capability, memory=_gigabytes(memory))
        for index, uuid, name, capability, memory in rows
    ]


def _gigabytes(text: str) -> float | None:
    """Of nvidia-smi's `81920 MiB`; None of `[N/A]`."""
    match = re.fullmatch(r"(\d+) MiB", text)
    return int(match[1]) * 2**20 / 10**9 if match else None


def _ask_nvidia_smi(*properties: str) -> list[list[str]]:
    """The values of these properties, one row for each card."""
    argv = ["nvidia-smi", f"--query-gpu={','.join(properties)}", "--format=csv,noheader"]
    printed = process.capture(argv, timeout=_LIMIT).stdout
    rows = [[value.strip() for value in line.split(",")] for line in printed.splitlines()]
    return [row for row in rows if len(row) == len(properties)]


def _require_nvidia_cards(needs: NvidiaNeeds, services: Sequence[Service], present: Sequence[Card]) -> None:
    """Every card that a container is given must be there and of the right kind."""
    if not present:
        return
    for service in services:
        for card in _cards_of(service.name, service.cards, present):
            _require_kind(needs, card)


def _cards_of(service: str, wanted: Cards, present: Sequence[Card]) -> list[Card]:
    if len(present) < wanted.count:
        raise PreflightError(
            f"cards of this host: found {len(present)}, expected {wanted.count} for the service {service}",
            hint=f"choose another target; {_TABLE}",
        )
    if wanted.count or "all" in wanted.named:
        return list(present)
    return [_card(name, service, present) for name in wanted.named if not _PART_OF_A_CARD.match(name)]


def _card(name: str, service: str, present: Sequence[Card]) -> Card:
    for card in present:
        if name == card.index or card.uuid.startswith(name):
            return card
    raise PreflightError(
        f"cards of this host: found no {name}, expected the card that the service {service} is given",
        hint=f"set GPU_DEVICE in the stack's .env to one of {', '.join(map(str, present))}",
    )


def _require_kind(needs: NvidiaNeeds, card: Card) -> None:
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - most starts of the program need none

    if not SpecifierSet(needs.compute_capability).contains(card.compute_capability):
        raise PreflightError(
            f"card {card}: expected compute capability {needs.compute_capability}",
            hint="choose the target for this card, or another card with GPU_DEVICE in the stack's .env; "
            + _TABLE,
        )
    if needs.card_memory is not None and card.memory is not None and card.memory < needs.card_memory:
        raise PreflightError(
            f"card {card}: found {card.memory:.0f} GB, expected {needs.card_memory} or more for the model",
            hint=f"choose another target; {_TABLE}",
        )


# --- Ascend -------------------------------------------------------------------------------------------------


def _host_path(configuration: Configuration, target: str) -> Path:
    """Where this host has what the containers see at `target`."""
    for service in configuration.services:
        for bind in service.binds:
            if bind.target == target:
                return bind.source
    return Path(target)


def _ascend_driver(folder: Path) -> str:
    """The version in the driver's own file. Raises PreflightError where it says none."""
    path = folder / "version.info"
    try:
        match = re.search(r"(?m)^Version=(\S+)", on_host(path).read_text("utf-8", "replace"))
    except OSError as failure:
        raise PreflightError(
            f"{path}: {failure.strerror}, expected the version of Ascend's driver",
            hint="install Ascend HDK (driver and firmware) on this host, or choose the target cpu",
        ) from failure
    if match is None:
        raise PreflightError(
            f"{path}: found no line Version=, expected the version of Ascend's driver",
            hint="install the driver again",
        )
    return match[1]


def _chips(npu_smi: Path) -> list[str]:
    """The names of the chips, such as 910B3; empty where npu-smi cannot tell."""
    try:
        printed = process.capture([str(npu_smi), "info", "-m"], timeout=_LIMIT).stdout
    except ProgramError:
        return []
    return re.findall(r"Ascend\s*(\w+)", printed)


def _require_chip(needs: AscendNeeds, chips: Sequence[str]) -> None:
    if chips and not any(chip.upper().startswith(needs.chip) for chip in chips):
        present = ", ".join(dict.fromkeys(chips))
        raise PreflightError(
            f"cards of this host: found Ascend {present}, expected Ascend {needs.chip}",
            hint="choose the target for these cards; docs/guides/ascend.md has them",
        )
