"""The cards of this host and their driver, and whether they are what a stack needs.

Asks `nvidia-smi`, or the kernel where that is missing; Ascend's driver has its version in a file, and its
`npu-smi` names the chips. Only the host of a local engine can be asked. What cannot be found out is not held
against it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from paddock import process
from paddock.engine import Release
from paddock.errors import PreflightError, ProgramError
from paddock.matrix.records import Accelerator
from paddock.paths import on_host
from paddock.stack.configuration import Cards, Configuration, HostNeeds

# Where the host's file is mounted in a container of an Ascend stack; where it is on the host, the stack says.
ASCEND_DRIVER = "/usr/local/Ascend/driver"
NPU_SMI = "/usr/local/bin/npu-smi"
NVIDIA_KERNEL_MODULE = Path("/proc/driver/nvidia/version")

_PART_OF_A_CARD = re.compile(r"MIG-|\d+:\d+$")  # the list of cards does not hold these
_LIMIT = 60.0  # seconds; nvidia-smi wakes cards that sleep
_TABLE = "docs/targets.md has the cards and drivers of every target"


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One NVIDIA card as nvidia-smi shows it."""

    index: str
    uuid: str
    name: str
    compute_capability: str
    memory: float | None  # GB; None where the card has none of its own

    def __str__(self) -> str:
        return f"{self.index} ({self.name}, compute capability {self.compute_capability})"


def require(configuration: Configuration, *, kernel_module: Path = NVIDIA_KERNEL_MODULE) -> None:
    """Raise PreflightError where this host's driver or cards are not what the stack says that it needs."""
    needs = configuration.host
    if needs is None:
        return
    if needs.accelerator == Accelerator.NVIDIA:
        _require_driver(needs, _nvidia_driver(kernel_module))
        present = _nvidia_cards()
        for service in configuration.services:
            _require_cards(needs, service.name, service.cards, present)
    elif needs.accelerator == Accelerator.ASCEND:
        _require_driver(needs, _ascend_driver(_mounted(configuration, ASCEND_DRIVER)))
        _require_chip(needs, _chips(_mounted(configuration, NPU_SMI)))


def driver(*, kernel_module: Path = NVIDIA_KERNEL_MODULE, ascend: Path = Path(ASCEND_DRIVER)) -> str | None:
    """Vendor and version of the driver of this host's cards; None where it has none that we know."""
    if version := _loaded(kernel_module):
        return f"nvidia {version}"
    try:
        return f"ascend {_ascend_driver(ascend)}"
    except PreflightError:
        return None


def _require_driver(needs: HostNeeds, found: str) -> None:
    version, least = Release.of(found), Release.of(needs.driver)
    if version and least and version < least:
        raise PreflightError(
            f"driver of this host: found {found}, expected {needs.driver} or later: {needs.driver_reason}",
            hint=f"update the driver, or choose a target for an older one; {_TABLE}",
        )


# --- NVIDIA -------------------------------------------------------------------------------------------------


def _nvidia_driver(kernel_module: Path) -> str:
    """The driver's version. Raises PreflightError where there is none."""
    try:
        return _ask_nvidia_smi("driver_version")[0][0]
    except (ProgramError, IndexError) as failure:
        loaded = _loaded(kernel_module)
        if loaded:
            return loaded
        said = _last_line(failure) if isinstance(failure, ProgramError) else "nvidia-smi shows no card"
        raise PreflightError(
            f"driver of this host: found none ({said}), expected NVIDIA's",
            hint="install NVIDIA's driver and its container toolkit on this host, or choose the target cpu",
        ) from failure


def _last_line(failure: ProgramError) -> str:
    return failure.message.splitlines()[-1].removeprefix("  | ")


def _loaded(kernel_module: Path) -> str:
    """The version of the kernel module that is loaded; empty where there is none."""
    try:
        first = kernel_module.read_text("utf-8", "replace").partition("\n")[0]
    except OSError:
        return ""
    found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", first)
    return found[1] if found else ""


def _nvidia_cards() -> list[Card]:
    """All cards; none where nvidia-smi cannot tell."""
    try:
        rows = _ask_nvidia_smi("index", "uuid", "name", "compute_cap", "memory.total")
    except ProgramError:
        return []
    return [
        Card(index=row[0], uuid=row[1], name=row[2], compute_capability=row[3], memory=_gigabytes(row[4]))
        for row in rows
    ]


def _gigabytes(text: str) -> float | None:
    """Of nvidia-smi's `81920 MiB`; None of `[N/A]`."""
    found = re.fullmatch(r"(\d+) MiB", text)
    return int(found[1]) * 2**20 / 10**9 if found else None


def _ask_nvidia_smi(*names: str) -> list[list[str]]:
    """The values of each card."""
    argv = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader"]
    printed = process.capture(argv, timeout=_LIMIT).stdout
    rows = [[value.strip() for value in line.split(",")] for line in printed.splitlines()]
    return [row for row in rows if len(row) == len(names)]


def _require_cards(needs: HostNeeds, service: str, wanted: Cards, present: Sequence[Card]) -> None:
    """Every card that a container is given must be there and of the right kind."""
    if not present:
        return
    if len(present) < wanted.count:
        raise PreflightError(
            f"cards of this host: found {len(present)}, expected {wanted.count} for the service {service}",
            hint=f"choose another target; {_TABLE}",
        )
    if wanted.count or "all" in wanted.named:
        chosen = list(present)
    else:
        chosen = [_card(name, service, present) for name in wanted.named if not _PART_OF_A_CARD.match(name)]
    for card in chosen:
        _require_kind(needs, card)


def _card(name: str, service: str, present: Sequence[Card]) -> Card:
    card = next((each for each in present if name == each.index or each.uuid.startswith(name)), None)
    if card is None:
        raise PreflightError(
            f"cards of this host: found no {name}, expected the card that the service {service} is given",
            hint=f"set GPU_DEVICE in the stack's .env to one of {', '.join(map(str, present))}",
        )
    return card


def _require_kind(needs: HostNeeds, card: Card) -> None:
    if not SpecifierSet(needs.compute_capability).contains(card.compute_capability):
        raise PreflightError(
            f"card {card}: expected compute capability {needs.compute_capability}",
            hint=f"choose the target for this card, or another card with GPU_DEVICE in the stack's .env; {_TABLE}",
        )
    if needs.card_memory and card.memory is not None and card.memory < int(needs.card_memory):
        raise PreflightError(
            f"card {card}: found {card.memory:.0f} GB, expected {needs.card_memory} or more: the model does not fit",
            hint=f"choose another target; {_TABLE}",
        )


# --- Ascend -------------------------------------------------------------------------------------------------


def _mounted(configuration: Configuration, target: str) -> Path:
    """Where this host has what the containers see at `target`."""
    binds = (bind for service in configuration.services for bind in service.binds if bind.target == target)
    return next((bind.source for bind in binds), Path(target))


def _ascend_driver(folder: Path) -> str:
    """The version in the driver's own file. Raises PreflightError where it says none."""
    path = folder / "version.info"
    try:
        found = re.search(r"(?m)^Version=(\S+)", on_host(path).read_text("utf-8", "replace"))
    except OSError as failure:
        raise PreflightError(
            f"{path}: {failure.strerror}, expected the version of Ascend's driver",
            hint="install Ascend HDK (driver and firmware) on this host, or choose the target cpu",
        ) from failure
    if found is None:
        raise PreflightError(
            f"{path}: found no line Version=, expected the version of Ascend's driver",
            hint="install the driver again",
        )
    return found[1]


def _chips(npu_smi: Path) -> list[str]:
    """The names of the chips, such as 910B3; none where npu-smi cannot tell."""
    try:
        printed = process.capture([str(npu_smi), "info", "-m"], timeout=_LIMIT).stdout
    except ProgramError:
        return []
    return re.findall(r"Ascend\s*(\w+)", printed)


def _require_chip(needs: HostNeeds, chips: Sequence[str]) -> None:
    if chips and not any(chip.upper().startswith(needs.chip) for chip in chips):
        raise PreflightError(
            f"cards of this host: found Ascend {', '.join(dict.fromkeys(chips))}, expected Ascend {needs.chip}",
            hint="choose the target for these cards; docs/ascend.md has them",
        )
