"""`load.sh` where there is no tool: only what was signed is taken, and nothing that lies beside it.

Here docker only pretends; with real engines the script is tested among the integration tests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from load_script import FILES, SHELLS, LoadSite
from paddock.bundle.check import sequences, trust
from paddock.bundle.check.trust import Signed
from paddock.bundle.check.verify import verify
from paddock.bundle.format import signature
from paddock.bundle.format.manifest import MANIFEST, SIGNATURE, SUMS, StackName
from paddock.bundle.format.reader import OpenBundle
from paddock.bundle.format.revoked import REVOKED, revoked_to_bytes
from paddock.door import run
from paddock.errors import BundleError
from programs import Finished, require_failure
from recording import Recorder
from samples import bundles
from site_programs import CHECKERS

STRANGER = signature.generate()
CPU = StackName(name="cpu", target="cpu", backend="vllm", model="paddleocr-vl-1.6", variant="online")


@pytest.fixture(params=SHELLS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> LoadSite:
    """A site for each shell, with a signed bundle."""
    made = LoadSite(home=tmp_path, shell=SHELLS[request.param])
    made.write()
    return made


@pytest.fixture
def medium(tmp_path: Path) -> LoadSite:
    """The same for one shell, with the key of the bundle pinned."""
    made = LoadSite(home=tmp_path)
    made.write()
    made.keys.pin(made.key.public)
    return made


@pytest.fixture(params=[0o022, 0o077], ids=["open", "closed"])
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def succeeded(done: Finished) -> str:
    """What it said on stderr, where it says everything."""
    assert done.returncode == 0, done.stderr
    return done.stderr


# --- what is taken ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_umask")
def test_what_is_listed_comes_with_the_modes_that_bundle_json_says(site: LoadSite) -> None:
    shutil.rmtree(site.folder)
    manifest = site.write(files={**FILES, "stack/run.sh": b"#!/bin/sh\n"})
    for path in (site.folder / "stack").rglob("*"):
        path.chmod(0o700)
    said = succeeded(site.load("--into", site.into, "--no-start"))
    assert "all images are there" in said
    modes = {
        path.relative_to(site.into).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in site.into.rglob("*")
    }
    assert modes == {
        "compose.yaml": 0o644,
        ".env": 0o644,
        ".env.example": 0o644,
        "images": 0o755,
        "images/upstream.yaml": 0o644,
        "run.sh": 0o755,
    }
    parts = b"".join((site.folder / part.name).read_bytes() for part in manifest.parts)
    assert site.loaded.read_bytes() == parts


def test_the_sites_settings_keep_their_mode(site: LoadSite) -> None:
    site.into.mkdir()
    (site.into / ".env").write_text("HTTPS_PROXY=http://me:secret@proxy\nIMAGE_VERSION=1\n")
    (site.into / ".env").chmod(0o600)
    succeeded(site.load("--into", site.into))
    assert (site.into / ".env").read_text().splitlines() == [
        "HTTPS_PROXY=http://me:secret@proxy",
        "IMAGE_VERSION=2",
    ]
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in site.into.glob(".env*")} == {
        ".env": 0o600,
        ".env.example": 0o644,
    }


def spread(site: LoadSite) -> Path:
    """Move some of the bundle to a second medium."""
    second = site.home / "second medium"
    (second / "stack").mkdir(parents=True)
    for name in ("images.tar.001", "stack/compose.yaml", MANIFEST, SIGNATURE):
        (site.folder / name).rename(second / name)
    return second


def test_a_bundle_on_two_media(site: LoadSite) -> None:
    site.keys.pin(site.key.public)
    second = spread(site)
    require_failure(site.load("--check"), 7, "found no bundle.json")
    assert "every file is as it was written" in succeeded(site.load("--check", second))
    succeeded(site.load("--into", site.into, second))
    assert not any(path.is_symlink() for path in site.into.rglob("*"))
    assert not list((site.home / "tmp").iterdir())


def test_what_file_managers_leave_is_passed_over(site: LoadSite) -> None:
    for name in ("holiday.jpg", "stack/.DS_Store", "stack/._compose.yaml", "resend-1.txt"):
        (site.folder / name).write_bytes(b"")
    (site.folder / "System Volume Information").mkdir()
    succeeded(site.load("--into", site.into))
    assert {path.name for path in site.into.iterdir()} == {"compose.yaml", ".env", ".env.example", "images"}


# --- who signed it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("place", ["host", "own", "given"])
@pytest.mark.needs(*CHECKERS)
def test_a_signature_by_a_key_that_counts(site: LoadSite, checker: str, place: str) -> None:
    site.checkers = (checker,)
    arguments = ["--check"]
    if place == "given":
        (site.home / "it.pub").write_bytes(site.key.public.to_bytes())
        arguments += ["--key", "it.pub"]
    else:
        site.keys.pin(site.key.public, for_host=place == "host")
    said = succeeded(site.load(*arguments))
    assert "signed by a key that counts here, sequence 20" in said
    assert "NOT CHECKED" not in said


def test_without_a_key_it_says_so_aloud(site: LoadSite) -> None:
    site.checkers = ()
    assert "SIGNATURE NOT CHECKED" in succeeded(site.load("--check"))
    (site.folder / SIGNATURE).unlink()
    assert "SIGNATURE NOT CHECKED" in succeeded(site.load("--check"))


@pytest.mark.fault("load.sh: nothing to check a signature with")
def test_a_pinned_key_and_nothing_to_check_with(site: LoadSite) -> None:
    site.checkers = ()
    site.keys.pin(site.key.public)
    require_failure(site.load("--check"), 7, "found neither minisign nor OpenSSL 3", "paddock import")


def test_another_openssl_than_version_3_is_not_asked(medium: LoadSite) -> None:
    medium.checkers = ()
    old = medium.home / "docker/openssl"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'OpenSSL 1.1.1w  11 Sep 2023'\n")
    old.chmod(0o755)
    require_failure(medium.load("--check"), 7, "found neither minisign nor OpenSSL 3")


def not_canonical(data: bytes) -> bytes:
    """The same signature, whose base64 ends in other unused bits."""
    first, signed, comment, seal = data.decode().splitlines()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    seal = seal[:85] + letters[letters.index(seal[85]) + 1] + "=="
    return "\n".join((first, signed, comment, seal, "")).encode()


def another_letter(data: bytes, at: int) -> bytes:
    """Another byte of what base64 stands for."""
    changed = bytearray(data)
    changed[at] = ord("B" if data[at : at + 1] == b"A" else "A")
    return bytes(changed)


def change(site: LoadSite, name: str, how: Callable[[bytes], bytes]) -> None:
    path = site.folder / name
    path.write_bytes(how(path.read_bytes()))


def flip(data: bytes, at: int = -1) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def rewrite_sums(site: LoadSite) -> None:
    """SHA256SUMS written anew for what lies there, as somebody would who exchanged files."""
    lines = []
    for line in (site.folder / SUMS).read_text().splitlines():
        name = line.split("  ")[1]
        lines.append(f"{hashlib.sha256((site.folder / name).read_bytes()).hexdigest()}  {name}\n")
    (site.folder / SUMS).write_text("".join(lines))


def exchanged(name: str) -> Callable[[LoadSite], None]:
    def spoil(site: LoadSite) -> None:
        change(site, name, lambda data: flip(data, len(data) // 2))
        rewrite_sums(site)

    return spoil


def resigned(how: Callable[[bytes], bytes]) -> Callable[[LoadSite], None]:
    """bundle.json is another one, and so is SHA256SUMS; the signature is what it was."""

    def spoil(site: LoadSite) -> None:
        change(site, MANIFEST, how)
        rewrite_sums(site)

    return spoil


def another_comment(site: LoadSite) -> None:
    change(site, SIGNATURE, lambda data: data.replace(b"sequence:20", b"sequence:99"))


def another_bundles(site: LoadSite) -> None:
    kept = site.home / "kept"
    shutil.copytree(site.folder, kept)
    shutil.rmtree(site.folder)
    site.write(files={})
    shutil.copy(site.folder / SIGNATURE, kept)
    shutil.rmtree(site.folder)
    kept.rename(site.folder)


def legacy(site: LoadSite) -> None:
    """A signature in minisign's older form, over the file itself: minisign takes it, `paddock` never did."""
    made = site.key.sign((site.folder / MANIFEST).read_bytes())
    with OpenBundle.open([site.folder]) as bundle:
        comment = f"bundle:{bundle.manifest.id} sequence:20"
    old = signature.Signature(
        number=site.key.number, signed=made, comment=comment, seal=site.key.sign(made + comment.encode())
    )
    (site.folder / SIGNATURE).write_bytes(
        old.to_bytes().replace(b"\nRUR", b"\nRWR").replace(b"\nRU", b"\nRW")
    )


def revoke(site: LoadSite) -> None:
    site.keys.own.mkdir(exist_ok=True)
    (site.keys.own / REVOKED).write_bytes(revoked_to_bytes([site.key.public, STRANGER.public]))


def out_of_date(site: LoadSite) -> None:
    site.keys.pin(site.key.public, until="2026-01-01")


def damage_key(site: LoadSite) -> None:
    site.keys.pin(site.key.public).write_text("damaged\n")


def host_has_another(site: LoadSite) -> None:
    site.keys.pin(STRANGER.public, for_host=True)


def undated(site: LoadSite) -> None:
    path = site.keys.pin(site.key.public, until="2099-01-01")
    path.write_text(path.read_text().replace("2099-01-01", "soon"))


UNTRUSTED: dict[str, tuple[Callable[[LoadSite], object], str]] = {
    "no signature": (lambda site: (site.folder / SIGNATURE).unlink(), "has no signature"),
    "an empty signature": (lambda site: change(site, SIGNATURE, lambda _: b""), "has no signature"),
    "a stranger's": (lambda site: site.sign(STRANGER), "by another key than those that count"),
    "a stranger's under our number": (
        lambda site: site.sign(replace(STRANGER, number=site.key.number)),
        "does not hold",
    ),
    "another bundle's": (another_bundles, "belongs to another bundle"),
    "bundle.json changed": (
        resigned(lambda data: data.replace(b'"1.5', b'"1.6')),
        "or bundle.json was changed",
    ),
    "bundle.json spelt otherwise": (resigned(lambda data: data.replace(b",", b", ", 1)), "was changed"),
    "another sequence": (another_comment, "does not hold"),
    "another byte": (
        lambda site: change(site, SIGNATURE, lambda data: another_letter(data, 80)),
        "does not hold",
    ),
    "another byte of the seal": (
        lambda site: change(site, SIGNATURE, lambda data: another_letter(data, -20)),
        "does not hold",
    ),
    "another first line": (
        lambda site: change(site, SIGNATURE, lambda data: b"x" + data),
        "is not a signature",
    ),
    "a fifth line": (lambda site: change(site, SIGNATURE, lambda data: data + b"x\n"), "is not a signature"),
    "three lines": (
        lambda site: change(site, SIGNATURE, lambda data: data[: data[:-1].rindex(b"\n") + 1]),
        "is not a signature",
    ),
    "no last newline": (lambda site: change(site, SIGNATURE, lambda data: data[:-1]), "is not a signature"),
    "base64 with other unused bits": (
        lambda site: change(site, SIGNATURE, not_canonical),
        "is not a signature",
    ),
    "a null byte": (
        lambda site: change(site, SIGNATURE, lambda data: data.replace(b"\ntrusted", b"\0\ntrusted")),
        "is not a signature",
    ),
    "not prehashed": (legacy, "is not a signature"),
    "a terabyte": (lambda site: os.truncate(site.folder / SIGNATURE, 1 << 40), "is not a signature"),
    "a link": (
        lambda site: linked(site, SIGNATURE),
        "is a link",
    ),
    "a revoked key": (revoke, "this key does not count, it was revoked"),
    "a key whose last date is over": (out_of_date, "its last date is over"),
    "a date that is none": (undated, 'no date behind "until"'),
    "a damaged key": (damage_key, "is not a minisign public key"),
    "the host has another key": (host_has_another, "by another key than those that count"),
}


@pytest.mark.parametrize(
    ("case", "checker"),
    [
        (case, checker)
        for case, (_, words) in UNTRUSTED.items()
        for checker in (CHECKERS if words == "does not hold" else CHECKERS[1:])
    ],
)
@pytest.mark.fault("load.sh: not signed as it must be")
@pytest.mark.needs(*CHECKERS)
def test_what_no_trusted_key_signed_is_refused(medium: LoadSite, case: str, checker: str) -> None:
    spoil, words = UNTRUSTED[case]
    medium.checkers = (checker,)
    spoil(medium)
    require_failure(medium.load("--into", medium.into), 7, words, "\nhint: ")
    untouched(medium)
    assert tool_refuses(medium)


def untouched(site: LoadSite) -> None:
    """No image was loaded, no stack put in place, nothing left."""
    assert not site.loaded.exists()
    assert not site.into.exists()
    assert not list((site.home / "tmp").iterdir())


def tool_refuses(site: LoadSite, *more: Path) -> bool:
    """Whether the tool, which judges in more detail, refuses the bundle as well."""
    try:
        with OpenBundle.open([site.folder, *more]) as bundle:
            signed = trust.check(bundle, site.keys.demanded())
            sequences.check(bundle.manifest, signed, site.keys.own)
            return bool(verify(bundle, report=Recorder()).problems)
    except BundleError:
        return True


def test_a_key_of_the_users_does_not_get_around_the_hosts(site: LoadSite) -> None:
    site.keys.pin(STRANGER.public, for_host=True)
    site.keys.pin(site.key.public)
    (site.home / "it.pub").write_bytes(site.key.public.to_bytes())
    require_failure(site.load("--check"), 7, "by another key than those that count here")
    require_failure(site.load("--check", "--key", "it.pub"), 7, "found no key here that counts")
    site.keys.pin(site.key.public, for_host=True)
    succeeded(site.load("--check", "--key", "it.pub"))
    (site.home / "it.pub").write_bytes(STRANGER.public.to_bytes())
    require_failure(site.load("--check", "--key", "it.pub"), 7, "by another key than those that count here")


def test_keys_that_cannot_be_read_are_not_passed_over(medium: LoadSite) -> None:
    medium.keys.host.mkdir()
    (medium.keys.host / "keys").write_bytes(b"")  # root may read every folder, but this is none
    require_failure(medium.load("--check"), 7, "cannot be read, expected the keys that count here")


# --- older than what is here --------------------------------------------------------------------------------


def at(site: LoadSite, sequence: int) -> Signed:
    return Signed(key_id=site.key.public.id, sequence=sequence, checked=True)


@pytest.mark.fault("load.sh: older bundle")
def test_an_older_bundle_of_the_stack_is_refused(medium: LoadSite) -> None:
    shutil.rmtree(medium.folder)
    manifest = medium.write(stack=CPU)
    sequences.record(manifest, at(medium, 20), medium.keys.own)
    succeeded(medium.load("--check"))
    sequences.record(manifest, at(medium, 21), medium.keys.own)
    require_failure(medium.load("--check"), 7, "has sequence 20, expected at least 21: a newer one for cpu")
    assert tool_refuses(medium)


@pytest.mark.fault("load.sh: older bundle")
def test_a_name_does_not_move_to_an_older_image(medium: LoadSite) -> None:
    shutil.rmtree(medium.folder)
    manifest = medium.write(stack=CPU)
    other = replace(CPU, name="cpu-embedded")
    sequences.record(replace(manifest, stack=other), at(medium, 30), medium.keys.own)
    succeeded(medium.load("--check"))  # the same images: no name moves
    moved = tuple(replace(image, config=manifest.images[1].config) for image in manifest.images[:1])
    sequences.record(replace(manifest, stack=other, images=moved), at(medium, 30), medium.keys.own)
    require_failure(medium.load("--check"), 7, f"a newer one for {moved[0].reference} was imported")
    assert tool_refuses(medium)


@pytest.mark.fault("load.sh: older bundle")
def test_images_alone_are_not_older_under_another_tag(medium: LoadSite) -> None:
    manifest = medium.write()
    renamed = tuple(replace(image, reference=f"{image.reference}.1") for image in manifest.images)
    sequences.record(replace(manifest, images=renamed), at(medium, 21), medium.keys.own)
    require_failure(medium.load("--check"), 7, "expected at least 21: a newer one for paddock/cpu-api")
    assert tool_refuses(medium)


@pytest.mark.fault("clock far in the future")
def test_a_number_of_the_future_is_refused(medium: LoadSite) -> None:
    medium.sign(sequence=2_100_000_000)
    require_failure(medium.load("--check"), 7, "expected at most a day ahead of this host's clock")
    assert tool_refuses(medium)


# --- what lies on the medium --------------------------------------------------------------------------------


def linked(site: LoadSite, name: str) -> None:
    """The file lies elsewhere, and a link leads there."""
    (site.folder / name).rename(site.home / "elsewhere")
    (site.folder / name).symlink_to(site.home / "elsewhere")


def put(name: str, content: bytes = b"services: {}\n") -> Callable[[LoadSite], object]:
    return lambda site: (site.folder / name).write_bytes(content)


def pipe(site: LoadSite, name: str) -> None:
    (site.folder / name).unlink()
    os.mkfifo(site.folder / name)


def folder_for(site: LoadSite, name: str) -> None:
    (site.folder / name).unlink()
    (site.folder / name).mkdir()


def swap(site: LoadSite) -> None:
    spare = site.home / "spare"
    (site.folder / "images.tar.000").rename(spare)
    (site.folder / "images.tar.001").rename(site.folder / "images.tar.000")
    spare.rename(site.folder / "images.tar.001")


@dataclass(frozen=True)
class Row:
    """What happens to the medium, and words of what is said then."""

    spoil: Callable[[LoadSite], object]
    words: str


MEDIA = {
    "a part exchanged, SHA256SUMS fitting": Row(
        exchanged("images.tar.001"), "SHA256SUMS: does not say what bundle.json says"
    ),
    "a file of the stack exchanged, SHA256SUMS fitting": Row(
        exchanged("stack/compose.yaml"), "SHA256SUMS: does not say"
    ),
    "a part changed": Row(lambda site: change(site, "images.tar.001", flip), "images.tar.001: FAILED"),
    "the stack changed": Row(
        lambda site: change(site, "stack/compose.yaml", flip), "stack/compose.yaml: FAILED"
    ),
    "a document changed": Row(lambda site: change(site, "docs/guides/airgap.md", flip), "airgap.md: FAILED"),
    "a part cut": Row(
        lambda site: change(site, "images.tar.003", lambda data: data[:-1]), "images.tar.003: FAILED"
    ),
    "a part missing": Row(lambda site: (site.folder / "images.tar.002").unlink(), "images.tar.002: FAILED"),
    "a part swapped": Row(swap, "images.tar.000: FAILED"),
    "SHA256SUMS missing": Row(lambda site: (site.folder / SUMS).unlink(), "SHA256SUMS: missing"),
    "SHA256SUMS with a line more": Row(
        lambda site: change(site, SUMS, lambda data: data + b"0" * 64 + b"  stack/.env\n"),
        "SHA256SUMS: does not",
    ),
    "SHA256SUMS with a line less": Row(
        lambda site: change(site, SUMS, lambda data: data[data.index(b"\n") + 1 :]), "SHA256SUMS: does not"
    ),
    "bundle.json missing": Row(lambda site: (site.folder / MANIFEST).unlink(), "found no bundle.json"),
    "an override added to the stack": Row(
        put("stack/compose.override.yaml"), "stack/compose.override.yaml: is not a file of this bundle"
    ),
    "settings added to the stack": Row(put("stack/.env"), "stack/.env: is not a file of this bundle"),
    "a hidden file added deep down": Row(put("stack/images/..x"), "stack/images/..x: is not a file"),
    "a document added": Row(put("docs/guides/more.txt"), "docs/guides/more.txt: is not a file"),
    "an odd name added": Row(put("stack/\x1b[2J\n"), "stack/??2J?: is not a file"),
    "a part of an older export": Row(put("images.tar.099"), "images.tar.099: is not a file"),
    "a copy of a part": Row(put("images.tar.000 (1)"), "images.tar.000??1?: is not a file"),
    "a folder added to the stack": Row(
        lambda site: bundles.put(site.folder, {"stack/more/x": b""}), "stack/more/x: is not a file"
    ),
    "a link to a file of the host's added": Row(
        lambda site: (site.folder / "stack/shadow").symlink_to("/etc/shadow"), "stack/shadow: is not a file"
    ),
    "a link to a folder of the host's added": Row(
        lambda site: (site.folder / "stack/ssh").symlink_to("/etc"), "stack/ssh: is not a file"
    ),
    "a dangling link added": Row(
        lambda site: (site.folder / "stack/none").symlink_to("/nowhere"), "stack/none: is not a file"
    ),
    "a link for a part": Row(lambda site: linked(site, "images.tar.002"), "images.tar.002: is a link"),
    "a link for a file of the stack": Row(
        lambda site: linked(site, "stack/compose.yaml"), "stack/compose.yaml: is a link"
    ),
    "a link for the stack": Row(lambda site: linked(site, "stack"), "bundle/stack: is not a file"),
    "a link for bundle.json": Row(lambda site: linked(site, MANIFEST), "bundle.json: is a link"),
    "a link for SHA256SUMS": Row(lambda site: linked(site, SUMS), "SHA256SUMS: is a link"),
    "a pipe for a part": Row(lambda site: pipe(site, "images.tar.002"), "is not a plain file"),
    "a pipe for bundle.json": Row(lambda site: pipe(site, MANIFEST), "is not a plain file"),
    "a folder for a file": Row(lambda site: folder_for(site, "README.txt"), "is not a plain file"),
}


@pytest.mark.parametrize("case", MEDIA)
@pytest.mark.fault("load.sh: hostile medium")
def test_only_what_is_listed_is_taken(medium: LoadSite, case: str) -> None:
    """Also where no key is pinned."""
    shutil.rmtree(medium.keys.own)
    row = MEDIA[case]
    row.spoil(medium)
    require_failure(medium.load("--into", medium.into), 7, row.words, "\nhint: ")
    untouched(medium)
    assert tool_refuses(medium)


# --- hostile lists, which nobody signed, on two media -------------------------------------------------------


def listing(*names: str) -> Callable[[LoadSite], None]:
    """bundle.json lists these files first, and so does SHA256SUMS; the second medium has them."""

    def spoil(site: LoadSite) -> None:
        digest = hashlib.sha256(b"evil\n").hexdigest()
        entries = "".join(
            f'{{"executable":true,"path":"{name}","sha256":"{digest}","size":5}},' for name in names
        )
        change(site, MANIFEST, lambda data: data.replace(b'"files":[', b'"files":[' + entries.encode()))
        own = hashlib.sha256((site.folder / MANIFEST).read_bytes()).hexdigest()
        lines = [line for line in (site.folder / SUMS).read_text().splitlines() if MANIFEST not in line]
        lines = [*(f"{digest}  {name}" for name in names), *lines, f"{own}  {MANIFEST}"]
        (site.folder / SUMS).write_text("".join(f"{line}\n" for line in lines))
        for name in names:
            path = Path(os.path.normpath(site.home / "a/b/second" / name))
            if path.is_relative_to(site.home) and not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"evil\n")

    return spoil


LISTS: dict[str, Callable[[LoadSite], None]] = {
    "leads out": listing("../../evil/profile.sh"),
    "leads out behind a folder": listing("stack/../../evil/profile.sh"),
    "absolute": listing("/evil/profile.sh"),
    "a dot": listing("stack/./x"),
    "ends in two dots": listing("stack/.."),
    "an empty component": listing("stack//x"),
    "a space": listing("stack/a b"),
    "control characters": listing("stack/\x1b]0;x\x07"),
    "no hash": lambda site: change(
        site,
        MANIFEST,
        lambda data: data.replace(b'"files":[', b'"files":[{"path":"x","sha256":"12","size":1},'),
    ),
    "a key between": lambda site: change(
        site, MANIFEST, lambda data: data.replace(b'"path":"README.txt",', b'"path":"README.txt","o":1,')
    ),
    "the manifest itself": listing("bundle.json"),
    "a file in a file": listing("README.txt/x"),
}


@pytest.mark.parametrize("case", LISTS)
@pytest.mark.fault("load.sh: hostile names")
def test_no_name_leads_out(tmp_path: Path, case: str) -> None:
    """SHA256SUMS and bundle.json agree, so only the names are wrong."""
    site = LoadSite(home=tmp_path / "home")
    site.home.mkdir()
    site.write(signed=False)
    second = site.home / "a/b/second"
    second.mkdir(parents=True)
    LISTS[case](site)
    site.prepare()
    before = set(tmp_path.rglob("*"))
    done = site.load("--into", site.into, second)
    require_failure(done, 7, "\nhint: ")
    assert "\x1b" not in done.stderr
    assert set(tmp_path.rglob("*")) - before <= {site.home / "asked"}
    untouched(site)


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another format": (lambda data: data.replace(b"bundle/1", b"bundle/2"), "another format"),
    "cut": (lambda data: data[:-10], "found no end"),
    "empty": (lambda _: b"", "found no bundle.json"),
    "not JSON": (lambda _: b"paddock\n", "found no end"),
    "no parts": (lambda data: data[: data.index(b'"parts":')] + b'"parts":[]}\n', "found no part"),
    "in many lines": (lambda data: data.replace(b",", b",\n"), "bundle.json: "),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.fault("load.sh: hostile names")
def test_a_list_that_is_none(tmp_path: Path, case: str) -> None:
    site = LoadSite(home=tmp_path)
    site.write(signed=False)
    spoil, words = BROKEN[case]
    change(site, MANIFEST, spoil)
    require_failure(site.load("--check"), 7, words, "\nhint: ")
    assert tool_refuses(site)


@pytest.mark.fault("load.sh: hostile medium")
def test_a_medium_that_gives_other_bytes_the_second_time(medium: LoadSite) -> None:
    """What the engine has in the end is compared with bundle.json, be it only the configuration."""
    held = medium.home / "held"
    held.write_text(held.read_text().replace('"id":"sha256:', '"id":"sha256:0'))
    require_failure(
        medium.load("--into", medium.into), 7, "the medium gave other bytes", "docker load: failed"
    )
    assert not medium.into.exists()


# --- the engine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "refused"),
    [
        ("20.10.24+dfsg1", True),
        ("19.03.15", True),
        ("1.13.1", True),
        ("22.06.0-beta.0", True),
        ("23.0.0", False),
        ("28.5.2+dfsg4", False),
        ("100.1", False),
    ],
)
def test_an_engine_that_cannot_read_zstd_is_refused_first(
    medium: LoadSite, version: str, *, refused: bool
) -> None:
    (medium.folder / MANIFEST).unlink()
    done = medium.load(VERSION=version)
    assert done.returncode == 7
    assert (f"found Docker Engine {version}, expected 23.0" in done.stderr) is refused
    assert ("found no bundle.json" in done.stderr) is not refused


@pytest.mark.parametrize("arguments", [("--nonsense",), ("--into",), ("--key",), ("--key", "/nowhere")])
def test_wrong_usage(site: LoadSite, arguments: tuple[str, ...]) -> None:
    require_failure(site.load(*arguments), 2, "\nhint: ")


def test_paddock_takes_the_same_bundle(medium: LoadSite, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded(medium.load("--check"))
    monkeypatch.setenv("PADDOCK_STATE", str(medium.keys.own))
    assert run(["verify", str(medium.folder)]) == 0
