"""What lies in a models directory, for tests of weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paddock.weights import setfiles
from paddock.weights.installing import Outcome

Fetch = Callable[..., tuple[Outcome, ...]]  # the fixture `fetch`: fetch these sets
Carry = Callable[..., tuple[Outcome, ...]]  # the fixture `carry`: carry in these sets from a place

VLM = "PaddleOCR-VL-1.6"


def contents(directory: Path) -> dict[str, bytes]:
    """The content of every file of a set by its path."""
    return {path: file.read_bytes() for path, file in setfiles.files_of(directory).items()}


def locked_sets(models_dir: Path) -> Mapping[str, Any]:
    """The sets in the lock file, as they stand there."""
    sets: Mapping[str, Any] = json.loads((models_dir / "models.lock.json").read_bytes())["sets"]
    return sets


def visible(models_dir: Path) -> list[str]:
    """What lies in the models directory, apart from the file by which processes take turns."""
    return sorted(path.name for path in models_dir.iterdir() if path.name != ".lock")
