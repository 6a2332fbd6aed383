"""What tests of deltas share."""

from __future__ import annotations

from pathlib import Path

import pytest

from layer_files import LayerFiles
from samples import deltas


@pytest.fixture
def workshop(tmp_path: Path) -> LayerFiles:
    """An engine that has every layer."""
    return deltas.workshop(tmp_path / "workshop")
