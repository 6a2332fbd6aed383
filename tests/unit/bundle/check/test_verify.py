"""`paddock verify`: any changed byte is reported, and each bad file by its name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layer_files import noise
from paddock.bundle.check import sequences, trust
from paddock.bundle.check.keys import KeyStore
from paddock.bundle.check.verify import verify
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import MANIFEST, SIGNATURE, SUMS, parse
from paddock.bundle.format.reader import OpenBundle
from paddock.errors import BundleError
from recording import Recorder
from samples import bundles
from samples.site import KEY, Site


def test_a_good_bundle(site: Site) -> None:
    before = {path: path.stat().st_mtime_ns for path in site.folder.rglob("*")}
    status, out, err = site.verify()
    assert status == 0, err
    assert "all as written" in out
    assert {path: path.stat().st_mtime_ns for path in site.folder.rglob("*")} == before
    assert not list(site.home.glob("resend*"))
    status, out, _ = site.verify("--json")
    told = json.loads(out)
    assert (told["problems"], told["resend"], told["signed"]["checked"]) == ([], [], True)
    assert told["bytes"] == sum(
        path.stat().st_size for path in site.folder.rglob("*") if path.is_file()
    ) - sum((site.folder / name).stat().st_size for name in (MANIFEST, SIGNATURE, SUMS))


# --- one changed byte, anywhere -----------------------------------------------------------------------------


def positions(size: int) -> list[int]:
    """Every byte of a small file, many of a large one, the first and the last among them."""
    return sorted({*range(0, size, max(1, size // 400)), size - 1})


def names() -> list[str]:
    return [
        MANIFEST,
        SIGNATURE,
        SUMS,
        "README.txt",
        "stack/compose.yaml",
        "sbom/api.spdx.json",
        *(f"images.tar.00{number}" for number in range(4)),
    ]


def faulty(folder: Path, state: Path) -> bool:
    """Whether the checks of `paddock verify` find something."""
    try:
        with OpenBundle.open([folder]) as bundle:
            trust.check(bundle, KeyStore(own=state).demanded())
            return bool(verify(bundle, report=Recorder()).problems)
    except BundleError:
        return True


@pytest.mark.parametrize("name", names())
@pytest.mark.fault("flipped bit")
def test_no_flipped_bit_goes_unnoticed(site: Site, name: str) -> None:
    data = (site.folder / name).read_bytes()
    assert not faulty(site.folder, site.home / "state")
    for at in positions(len(data))[:: 40 if name.startswith("images") else 8]:
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        (site.folder / name).write_bytes(changed)
        assert faulty(site.folder, site.home / "state"), f"byte {at}"


@pytest.mark.parametrize("name", [MANIFEST, SUMS, "README.txt", "images.tar.001"])
@pytest.mark.fault("flipped bit")
def test_nor_without_a_key(site: Site, name: str) -> None:
    (site.folder / SIGNATURE).unlink()
    data = (site.folder / name).read_bytes()
    for at in positions(len(data))[::16]:
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        (site.folder / name).write_bytes(changed)
        assert faulty(site.folder, site.home / "nowhere"), f"byte {at}"


# --- faults of media ----------------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def swap(one: Path, other: Path) -> None:
    (one_data, other_data) = (one.read_bytes(), other.read_bytes())
    one.write_bytes(other_data)
    other.write_bytes(one_data)


def other_bundle(site: Site, **changes: Any) -> Path:
    """A bundle of other images, as large."""
    folder = site.home / "other"
    raws = [bundles.layer_tar({f"opt/{seed}": noise(90_000, seed)}) for seed in (7, 8, 9)]
    bundles.write(folder, images={"paddock/cpu-api:0.0.9": raws}, **changes)
    return folder


def from_other_bundle(site: Site) -> None:
    shutil.copy(other_bundle(site) / "images.tar.001", site.folder / "images.tar.001")


def older_export_in_the_folder(site: Site) -> None:
    """More parts than this bundle has."""
    shutil.copy(other_bundle(site) / "images.tar.005", site.folder / "images.tar.009")


def linked(site: Site) -> None:
    shutil.move(site.folder / "images.tar.002", site.home / "elsewhere")
    (site.folder / "images.tar.002").symlink_to(site.home / "elsewhere")


def linked_folder(site: Site) -> None:
    shutil.move(site.folder / "stack", site.home / "elsewhere")
    (site.folder / "stack").symlink_to(site.home / "elsewhere")


def pipe(site: Site) -> None:
    (site.folder / "images.tar.002").unlink()
    os.mkfifo(site.folder / "images.tar.002")


def two_lost(site: Site) -> None:
    for name in ("images.tar.000", "images.tar.003"):
        (site.folder / name).unlink()


def folder_for_file(site: Site) -> None:
    (site.folder / "README.txt").unlink()
    (site.folder / "README.txt").mkdir()


MEDIA: dict[str, tuple[Callable[[Site], Any], str, list[str]]] = {
    # what happens, what is printed, what is to be sent again
    "missing": (lambda site: (site.folder / "images.tar.002").unlink(), "missing", ["images.tar.002"]),
    "two missing": (
        two_lost,
        "missing",
        ["images.tar.000", "images.tar.003"],
    ),
    "missing sums": (lambda site: (site.folder / SUMS).unlink(), "missing", [SUMS]),
    "first byte missing": (
        lambda site: rewrite(site.folder / "images.tar.000", lambda data: data[1:]),
        "wrong size",
        ["images.tar.000"],
    ),
    "last byte missing": (
        lambda site: rewrite(site.folder / "images.tar.003", lambda data: data[:-1]),
        "wrong size",
        ["images.tar.003"],
    ),
    "empty": (
        lambda site: rewrite(site.folder / "images.tar.001", lambda data: b""),
        "wrong size",
        ["images.tar.001"],
    ),
    "longer": (
        lambda site: rewrite(site.folder / "images.tar.001", lambda data: data + b"\0"),
        "wrong size",
        ["images.tar.001"],
    ),
    "swapped": (
        lambda site: swap(site.folder / "images.tar.000", site.folder / "images.tar.001"),
        "images.tar.001 is images.tar.000",
        ["images.tar.000", "images.tar.001"],
    ),
    "doubled": (
        lambda site: shutil.copy(site.folder / "images.tar.000", site.folder / "images.tar.001"),
        "images.tar.001 is images.tar.000",
        ["images.tar.001"],
    ),
    "doubled beside": (
        lambda site: shutil.copy(site.folder / "images.tar.000", site.folder / "images.tar.000 (1)"),
        "foreign",
        [],
    ),
    "unfinished beside": (
        lambda site: shutil.copy(site.folder / "images.tar.000", site.folder / "images.tar.004.partial"),
        "foreign",
        [],
    ),
    "from another bundle": (from_other_bundle, "changed", ["images.tar.001"]),
    "older export in the same folder": (older_export_in_the_folder, "foreign", []),
    "a file added to the stack": (
        lambda site: bundles.put(site.folder, {"stack/compose.override.yaml": b"services: {}\n"}),
        "foreign",
        [],
    ),
    "a link added to the stack": (
        lambda site: (site.folder / "stack/.env").symlink_to("/etc/passwd"),
        "foreign",
        [],
    ),
    "a linked part": (linked, "is a link", ["images.tar.002"]),
    "a linked folder": (linked_folder, "is a link", ["stack/compose.yaml"]),
    "a pipe": (pipe, "not a plain file", ["images.tar.002"]),
    "a folder": (
        folder_for_file,
        "not a plain file",
        ["README.txt"],
    ),
}


@pytest.mark.parametrize("case", MEDIA)
def test_faults_of_media_are_named_and_listed(site: Site, case: str) -> None:
    damage, words, resend = MEDIA[case]
    damage(site)
    status, out, err = site.verify()
    assert status == 7
    assert words in out
    assert f"error: bundle {parse((site.folder / MANIFEST).read_bytes()).id}: " in err
    assert "hint: " in err
    lists = list(site.home.glob("resend-*.txt"))
    assert [path.read_text().split() for path in lists] == ([resend] if resend else [])
    status, out, _ = site.verify("--json", "--resend", "list")
    assert (status, json.loads(out)["resend"]) == (7, resend)


def test_a_list_that_cannot_be_written_hides_nothing(site: Site) -> None:
    (site.folder / "images.tar.002").unlink()
    status, out, err = site.verify("--resend", "missing/list")
    assert (status, "images.tar.002" in out) == (7, True)
    assert "warning: missing/list: cannot be written (No such file or directory)" in err


@pytest.mark.fault("medium removed")
def test_a_medium_that_is_pulled_after_it_was_opened(site: Site) -> None:
    site.arguments = [str(site.folder), str(site.home / "stick")]
    (site.home / "stick").mkdir()
    shutil.move(site.folder / "images.tar.001", site.home / "stick")
    assert site.verify()[0] == 0
    with OpenBundle.open([site.folder, site.home / "stick"]) as bundle:
        shutil.rmtree(site.home / "stick")
        found = verify(bundle, report=Recorder())
    assert [(problem.name, problem.fault) for problem in found.problems] == [("images.tar.001", "missing")]


def test_what_does_no_harm_is_only_told(site: Site) -> None:
    bundles.put(
        site.folder,
        {"holiday.jpg": b"x", "stack/.DS_Store": b"x", "stack/._compose.yaml": b"x", "resend-x.txt": b""},
    )
    (site.folder / "System Volume Information").mkdir()
    status, _, err = site.verify()
    assert status == 0, err
    assert "warning: " in err
    assert "holiday.jpg" in err


@pytest.mark.fault("hostile names")
def test_hostile_names_do_not_reach_the_terminal(site: Site) -> None:
    for name in (b"images.tar.\xff", b"images.tar.\x1b[2J", b"\x1b[2J"):
        Path(os.fsdecode(os.fsencode(site.folder) + b"/" + name)).write_bytes(b"")
    status, out, err = site.verify()
    assert status == 7
    assert out.isascii()
    assert "\x1b" not in out + err
    assert out.count("images.tar.") == 4


def test_folded_names_are_found(site: Site) -> None:
    for path in [*site.folder.glob("images.tar.*"), site.folder / SUMS, site.folder / "stack"]:
        path.rename(path.with_name(path.name.swapcase()))
    assert site.verify()[0] == 0


def test_two_names_that_differ_in_case_only(site: Site) -> None:
    shutil.copy(site.folder / "images.tar.001", site.folder / "IMAGES.TAR.001")
    status, out, _ = site.verify()
    assert (status, "IMAGES.TAR.001" in out) == (7, True)


def test_a_good_copy_on_another_medium_counts(site: Site, good: Path) -> None:
    rewrite(site.folder / "images.tar.001", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    rewrite(site.folder / "images.tar.002", lambda data: data[:-1])
    (site.home / "stick").mkdir()
    for name in ("images.tar.001", "images.tar.002"):
        shutil.copy(good / name, site.home / "stick" / name)
    site.arguments = [str(site.folder), str(site.home / "stick")]
    status, _, err = site.verify()
    assert status == 0, err
    assert err.count("a copy is bad") == 2
    with OpenBundle.open([site.folder, site.home / "stick"]) as bundle:
        assert verify(bundle, report=Recorder()).problems == ()
        wanted = b"".join((good / part.name).read_bytes() for part in bundle.manifest.parts)
        assert bundle.read_at(0, bundle.size) == wanted


def test_two_bundles_given_at_once(site: Site) -> None:
    site.arguments = [str(site.folder), str(other_bundle(site))]
    status, _, err = site.verify()
    assert (status, "belongs to another bundle" in err) == (7, True)


def test_known_parts_are_not_read_again(site: Site) -> None:
    rewrite(site.folder / "images.tar.001", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with OpenBundle.open([site.folder]) as bundle:
        told: list[str] = []
        found = verify(bundle, report=Recorder(), known={"images.tar.000"}, found_good=told.append)
    assert [problem.name for problem in found.problems] == ["images.tar.001"]
    assert told == [
        part.name for part in bundle.manifest.parts if part.name not in ("images.tar.000", "images.tar.001")
    ]


# --- trust --------------------------------------------------------------------------------------------------


@pytest.mark.fault("no signature")
def test_no_signature_where_one_is_demanded(site: Site) -> None:
    (site.folder / SIGNATURE).unlink()
    status, _, err = site.verify()
    assert (status, "has no signature" in err) == (7, True)


@pytest.mark.fault("unknown key")
def test_unknown_key(site: Site) -> None:
    with OpenBundle.open([site.folder]) as bundle:
        trust.sign_bundle(bundle, signature.generate())
    status, _, err = site.verify()
    assert (status, f"expected one by {KEY.public.id}" in err) == (7, True)


def test_a_given_key_stands_in_for_the_pinned_ones(site: Site) -> None:
    other = signature.generate()
    (site.home / "other.pub").write_bytes(other.public.to_bytes())
    assert site.verify("--key", "other.pub")[0] == 7
    with OpenBundle.open([site.folder]) as bundle:
        trust.sign_bundle(bundle, other)
    assert site.verify("--key", "other.pub")[0] == 0


@pytest.mark.fault("stolen older bundle")
def test_a_stolen_older_bundle(site: Site) -> None:
    with OpenBundle.open([site.folder]) as bundle:
        signed = trust.check(bundle, KeyStore(own=site.home / "state").demanded())
        assert signed is not None
        sequences.record(bundle.manifest, replace(signed, sequence=21), site.home / "state")
    status, _, err = site.verify()
    assert (status, "has sequence 20, expected at least 21" in err) == (7, True)


def test_without_any_key_that_is_said(site: Site) -> None:
    shutil.rmtree(site.home / "state")
    status, _, err = site.verify()
    assert (status, "nobody vouches for this bundle" in err, "--unsigned" in err) == (0, True, True)
