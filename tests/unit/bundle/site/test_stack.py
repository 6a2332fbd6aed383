"""The stack's folder at the site."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.site import stack as site_stack
from samples import bundles


@pytest.fixture
def _closed_files() -> Iterator[None]:
    """New files are for their owner only, as hardened hosts have it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_closed_files")
def test_containers_of_other_users_can_read_it(tmp_path: Path) -> None:
    bundles.write(tmp_path / "bundle", files={**bundles.FILES, "stack/.env.example": b"API_PORT=8080\n"})
    with OpenBundle.open([tmp_path / "bundle"]) as bundle:
        new = site_stack.prepare(bundle, tmp_path / "stack")
    modes = {path.name: path.stat().st_mode & 0o777 for path in new.iterdir()}
    assert {name: modes[name] for name in ("compose.yaml", ".env")} == {"compose.yaml": 0o644, ".env": 0o644}
