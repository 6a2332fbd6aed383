"""Where settings of a build come from, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.building import settings
from paddock.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"MODELS_DIR", "IMAGE_PREFIX", "BASE_REGISTRY", "APT_MIRROR"} | set(settings.SAME_AS)
    for name in names.union(*settings.SAME_AS.values()):
        monkeypatch.delenv(name, raising=False)


def test_defaults(tmp_path: Path) -> None:
    found = settings.build_settings(tmp_path, {})
    assert found == settings.BuildSettings(models_dir=tmp_path / "models")


def test_option_beats_environment_beats_dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("IMAGE_PREFIX=from-file/\nBASE_REGISTRY=file/\nAPT_MIRROR=file\n")
    monkeypatch.setenv("BASE_REGISTRY", "environment/")
    monkeypatch.setenv("APT_MIRROR", "environment")
    found = settings.build_settings(tmp_path, {"APT_MIRROR": "option", "BASE_REGISTRY": None})
    assert (found.image_prefix, found.base_registry, found.apt_mirror) == (
        "from-file/",
        "environment/",
        "option",
    )


def test_an_empty_variable_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("IMAGE_PREFIX=\nMODELS_DIR=\nWHEELHOUSE=\nCA_BUNDLE=\n")
    monkeypatch.setenv("BASE_REGISTRY", "")
    assert settings.build_settings(tmp_path, {}) == settings.BuildSettings(models_dir=tmp_path / "models")


def test_what_pip_is_told_holds_in_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").touch()
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    found = settings.build_settings(tmp_path, {})
    assert (found.ca_bundle, found.wheelhouse) == (tmp_path / "ca.pem", tmp_path / "wheels")


def test_find_links_that_are_no_folder_are_none_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "https://wheels.example/ /also/this")
    assert settings.build_settings(tmp_path, {}).wheelhouse is None


@pytest.mark.parametrize("name", ["WHEELHOUSE", "CA_BUNDLE"])
def test_a_named_place_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{name}: found .*absent"):
        settings.build_settings(tmp_path, {name: "absent"})
