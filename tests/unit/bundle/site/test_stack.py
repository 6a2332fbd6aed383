"""The stack's folder at the site: put in place as a whole, exchanged with the one before, settings kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bundle_folders import contents_of
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.stackfiles import MARK
from paddock.bundle.site import stack as site_stack
from paddock.errors import BundleError
from samples import bundles

COMPOSE = b"services: {}\n"


@pytest.fixture
def _closed_files() -> Iterator[None]:
    """New files are for their owner only, as hardened hosts have it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def install(tmp_path: Path, name: str, files: Mapping[str, bytes]) -> str:
    """Put the stack of a new bundle in place at `tmp_path/stack`; the bundle's id."""
    stack = {f"stack/{path}": data for path, data in files.items()}
    manifest = bundles.write(tmp_path / name, files={"README.txt": name.encode(), **stack})
    folder = tmp_path / "stack"
    with OpenBundle.open([tmp_path / name]) as bundle:
        site_stack.put_in_place(site_stack.prepare(bundle, folder), folder)
    return manifest.id


@pytest.mark.usefixtures("_closed_files")
def test_containers_of_other_users_can_read_it(tmp_path: Path) -> None:
    bundles.write(tmp_path / "bundle", files={**bundles.FILES, "stack/.env.example": b"API_PORT=8080\n"})
    with OpenBundle.open([tmp_path / "bundle"]) as bundle:
        new = site_stack.prepare(bundle, tmp_path / "stack")
    modes = {path.name: path.stat().st_mode & 0o777 for path in new.iterdir()}
    assert {name: modes[name] for name in ("compose.yaml", ".env")} == {"compose.yaml": 0o644, ".env": 0o644}


def test_where_it_goes(tmp_path: Path) -> None:
    with_stack = bundles.write(tmp_path / "with")
    without = bundles.write(tmp_path / "without", files={"README.txt": b""})
    assert site_stack.default_folder(tmp_path, with_stack) == tmp_path / "stacks/stack"
    assert site_stack.default_folder(tmp_path, without) is None


def test_a_new_stack_keeps_settings_and_files_of_the_site_but_not_those_of_the_bundle_before(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "stack"
    old = {"compose.yaml": COMPOSE, "gone.sh": b"", ".env.example": b"API_PORT=8080\nIMAGE_VERSION=1\n"}
    install(tmp_path, "old", old)
    (folder / ".env").write_text("API_PORT=9090\nIMAGE_VERSION=1\n")
    (folder / "compose.override.yaml").write_bytes(b"services: {}\n")
    new = {"compose.yaml": COMPOSE + b"# new\n", ".env.example": b"API_PORT=8080\nIMAGE_VERSION=2\n"}
    bundle = install(tmp_path, "new", new)
    contents = contents_of(folder)
    assert set(contents) == {"compose.yaml", "compose.override.yaml", ".env", ".env.example", MARK}
    assert contents["compose.yaml"] == new["compose.yaml"]
    assert contents[".env"] == b"API_PORT=9090\nIMAGE_VERSION=2\n"
    assert site_stack.origin(folder) == bundle
    assert (site_stack.previous(folder) / "gone.sh").is_file()


def test_what_the_site_wrote_is_kept_byte_for_byte(tmp_path: Path) -> None:
    install(tmp_path, "old", {"compose.yaml": COMPOSE, ".env.example": b"API_PORT=8080\nIMAGE_VERSION=1\n"})
    written = (
        b"\xef\xbb\xbf# Schl\xfcssel\r\nexport API_PORT = '9090' # ours\r\nIMAGE_VERSION: 1\r\nN='a\nb'\r\n"
    )
    (tmp_path / "stack/.env").write_bytes(written)
    new = b"API_PORT=8080\nIMAGE_VERSION=2\n# How many.\nJOBS=4\n"
    install(tmp_path, "new", {"compose.yaml": COMPOSE, ".env.example": new})
    kept = written.replace(b"IMAGE_VERSION: 1\r\n", b"IMAGE_VERSION: 2\r\n# How many.\r\nJOBS=4\r\n")
    assert (tmp_path / "stack/.env").read_bytes() == kept


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_the_sites_settings_keep_their_mode(tmp_path: Path, mode: int) -> None:
    """The password of a proxy may stand in them."""
    install(tmp_path, "old", {"compose.yaml": COMPOSE, ".env.example": b"API_PORT=8080\n"})
    settings = tmp_path / "stack/.env"
    settings.chmod(mode)
    install(tmp_path, "new", {"compose.yaml": COMPOSE, ".env.example": b"API_PORT=8081\n"})
    assert settings.stat().st_mode & 0o777 == mode


def test_a_file_that_is_not_what_the_manifest_says_is_refused(tmp_path: Path) -> None:
    bundles.write(tmp_path / "bundle")
    (tmp_path / "bundle/stack/compose.yaml").write_bytes(b"services: []\n")
    with (
        OpenBundle.open([tmp_path / "bundle"]) as bundle,
        pytest.raises(BundleError, match=r"compose\.yaml: is not what bundle\.json says"),
    ):
        site_stack.prepare(bundle, tmp_path / "stack")


def test_a_folder_that_no_bundle_brought_has_no_origin(tmp_path: Path) -> None:
    assert site_stack.origin(tmp_path / "missing") == ""
    (tmp_path / MARK).write_bytes(b"")
    assert site_stack.origin(tmp_path) == ""


def test_going_back_and_forward(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    first = install(tmp_path, "first", {"compose.yaml": COMPOSE})
    assert not site_stack.has_two(folder)
    second = install(tmp_path, "second", {"compose.yaml": COMPOSE + b"# 2\n"})
    assert site_stack.has_two(folder)
    for wanted, expected in ((False, first), (False, first), (True, second), (True, second)):
        site_stack.exchange(folder, second, wanted=wanted)
        assert site_stack.origin(folder) == expected
        assert site_stack.has_two(folder)


@pytest.mark.parametrize("step", [1, 2])
def test_an_exchange_that_was_cut_short_is_finished(tmp_path: Path, step: int) -> None:
    folder = tmp_path / "stack"
    first = install(tmp_path, "first", {"compose.yaml": COMPOSE})
    second = install(tmp_path, "second", {"compose.yaml": COMPOSE})
    folder.rename(tmp_path / "stack.exchange")
    if step == 2:
        site_stack.previous(folder).rename(folder)
    assert site_stack.has_two(folder)
    site_stack.exchange(folder, second, wanted=False)
    assert site_stack.origin(folder) == first
    assert site_stack.origin(site_stack.previous(folder)) == second


def test_an_exchange_that_fails_is_told(tmp_path: Path) -> None:
    bundle = install(tmp_path, "only", {"compose.yaml": COMPOSE})
    with pytest.raises(BundleError, match="cannot be exchanged"):
        site_stack.exchange(tmp_path / "stack", bundle, wanted=False)
