"""The pipeline configuration of PaddleX that a pipeline API reads: which file it is, and what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paddock.errors import ConfigurationError


def is_pipeline(path: Path) -> bool:
    """Whether a file that a container is given is a pipeline configuration, by its name."""
    return path.name.startswith("pipeline") and path.suffix == ".yaml"


def read_pipeline(path: Path) -> Mapping[str, Any]:
    """The pipeline configuration in a file.

    Raises ConfigurationError where the file holds something else, OSError as the system does.
    """
    import yaml  # noqa: PLC0415 - heavy, and most commands read no pipeline

    try:
        document = yaml.safe_load(path.read_text("utf-8", errors="replace"))
    except yaml.YAMLError as failure:
        raise ConfigurationError(f"{path}: not YAML: {' '.join(str(failure).split())}") from failure
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: found {type(document).__name__}, expected a mapping")
    return document
