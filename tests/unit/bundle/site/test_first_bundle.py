"""How a bundle is checked before anything of it runs: as the guide says, a good bundle and bad ones."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from load_script import LoadSite
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import MANIFEST, SIGNATURE, SUMS
from repository import REPOSITORY
from site_programs import CHECKERS, lines_of_the_guide

pytestmark = pytest.mark.needs(*CHECKERS)


@pytest.fixture
def site(tmp_path: Path) -> LoadSite:
    """A host that has nothing of ours, a signed bundle, and the workshop's public key."""
    made = LoadSite(home=tmp_path)
    made.write()
    (tmp_path / "workshop.key.pub").write_bytes(made.key.public.to_bytes())
    return made


def check(site: LoadSite, checker: str) -> bool:
    """Do what the guide says, with this program."""
    site.checkers = (checker,)
    path = site.prepare()
    return all(
        subprocess.run(
            ["/bin/sh", "-euc", lines],
            cwd=site.folder,
            env={"PATH": path, "KEY": str(site.home / "workshop.key.pub"), "TMPDIR": str(site.home / "tmp")},
            capture_output=True,
            check=False,
        ).returncode
        == 0
        for lines in lines_of_the_guide(checker)
    )


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_first_bundle_is_checked_then_loaded(site: LoadSite, checker: str) -> None:
    assert check(site, checker)
    done = site.load("--key", site.home / "workshop.key.pub", "--into", site.into)
    assert done.returncode == 0, done.stderr
    assert "signed by a key that counts here" in done.stderr
    assert (site.into / "compose.yaml").exists()


def changed(name: str) -> Callable[[LoadSite], object]:
    def spoil(site: LoadSite) -> None:
        path = site.folder / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)

    return spoil


def exchanged(site: LoadSite) -> None:
    """Everything is another bundle's, and only the signed file and its signature are the workshop's."""
    kept = {name: (site.folder / name).read_bytes() for name in (MANIFEST, SIGNATURE)}
    site.write(signed=False, images={"a:1": [b"evil" * 1000]})
    for name, data in kept.items():
        (site.folder / name).write_bytes(data)


BAD: dict[str, Callable[[LoadSite], object]] = {
    "load.sh": changed("load.sh"),
    "the archive": changed("images.tar.000"),
    "the stack": changed("stack/compose.yaml"),
    "bundle.json": changed(MANIFEST),
    "the signature": changed(SIGNATURE),
    "no signature": lambda site: (site.folder / SIGNATURE).unlink(),
    "a stranger's": lambda site: site.sign(signature.generate()),
    "all of it exchanged": exchanged,
}


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("case", BAD)
@pytest.mark.fault("first bundle not what was signed")
def test_a_bundle_that_is_not_what_was_signed_is_found_out(site: LoadSite, case: str, checker: str) -> None:
    BAD[case](site)
    assert not check(site, checker)


def test_the_bundle_says_the_same_lines(site: LoadSite) -> None:
    """README.txt, which lies beside load.sh, has those for minisign."""
    text = (REPOSITORY / "templates/bundle/README.txt").read_text("utf-8")
    for lines in lines_of_the_guide("minisign"):
        assert lines.replace('"$KEY"', "workshop.key.pub").strip() in text
    assert not re.search(r"sha256sum .*SHA256SUMS", text)
    assert (site.folder / SUMS).exists()
