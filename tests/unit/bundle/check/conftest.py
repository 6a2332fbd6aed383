"""What tests of checks share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from paddock.bundle.check import trust
from paddock.bundle.check.keys import KeyStore
from paddock.bundle.format.reader import OpenBundle
from samples import bundles
from samples.site import KEY, Site


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle of four parts or more, to be copied."""
    folder = tmp_path_factory.mktemp("good") / "bundle"
    assert len(bundles.write(folder).parts) >= 4
    with OpenBundle.open([folder]) as bundle:
        trust.sign_bundle(bundle, KEY, sequence=20)
    return folder


@pytest.fixture
def site(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Site:
    monkeypatch.setenv("PADDOCK_STATE", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    KeyStore(own=tmp_path / "state").pin(KEY.public)
    shutil.copytree(good, tmp_path / "bundle")
    return Site(home=tmp_path, folder=tmp_path / "bundle", capture=capsys)
