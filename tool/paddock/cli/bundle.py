"""`paddock keygen`, `sign`, `verify` and `bundle`: what can be done with a bundle without any engine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paddock import console
from paddock.cli.trust import add as trust_add
from paddock.errors import UsageError

if TYPE_CHECKING:
    from paddock.bundle.check.difference import Change, Difference
    from paddock.bundle.check.trust import Signed
    from paddock.bundle.check.verify import Verification
    from paddock.bundle.format.manifest import Layer, Manifest
    from paddock.bundle.trial.run import OfflineRun
    from paddock.report import Reporter

_SHOWN_LINES = 12  # of the sample's Markdown

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_directories = click.argument("directories", nargs=-1, required=True, metavar="DIR...", type=_FOLDER)
_keys = click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="PUB",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Public key that must have signed, in place of your own; with keys for the host, one of those."
    " May stand repeatedly.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("keygen")
@click.argument("key", type=click.Path(path_type=Path, dir_okay=False))
def keygen(key: Path) -> None:
    """Make a key pair: KEY, which signs and stays at the workshop, and KEY.pub, which sites check with.

    Both are minisign's files. KEY has no password and can be read by its owner only; nothing is replaced.

    Exit status: 0 made; 7 one of the files is there already, or cannot be written.
    """
    from paddock.bundle.format import signature

    public = signature.keygen(key)
    report = console.TerminalReporter()
    report.say(f"{key}: keep it secret; {key}.pub is for the sites")
    if key.stat().st_mode & 0o077:
        report.warn(f"{key}: is on a disk that keeps no owners of files; whoever gets at that disk can sign")
    console.result(public.id)


@click.command("sign")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--key",
    required=True,
    metavar="KEY",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Secret key, made by `paddock keygen KEY` or `minisign -G -W`.",
)
@click.option(
    "--sequence",
    type=click.IntRange(min=0, max=10**18 - 1),
    metavar="N",
    help="Place in the row of bundles; the time in seconds unless given.",
)
def sign(*, directory: Path, key: Path, sequence: int | None) -> None:
    """Sign the bundle in DIR: write bundle.json.minisig, which minisign can check, too.

    A site takes no bundle of a stack with a lower sequence number than it has had, and none whose number is
    more than a day ahead of its clock.

    Exit status: 0 signed; 2 such a number; 7 no bundle, no key, or the medium cannot be written.
    """
    from paddock.bundle.check import sequences, trust
    from paddock.bundle.format import signature
    from paddock.bundle.format.reader import OpenBundle

    if sequence is not None and sequences.ahead(sequence):
        raise UsageError(
            f"--sequence: found {sequence}, expected at most the time in seconds (`date +%s`):"
            " no site would take the bundle"
        )
    secret = signature.read_secret(key)
    with OpenBundle.open([directory]) as bundle:
        path = trust.sign_bundle(bundle, secret, sequence=sequence)
    console.result(str(path))


@click.command("verify")
@_directories
@_keys
@click.option(
    "--resend",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the names of bad files go, one a line.  [default: resend-<bundle>.txt here]",
)
@click.option(
    "--offline-run",
    "offline_run",
    is_flag=True,
    help="Then import it into an engine without a network, start its stack and parse a page.",
)
@click.option(
    "--base",
    "bases",
    multiple=True,
    metavar="DIR",
    type=_FOLDER,
    help="For --offline-run: a bundle to import first, which a delta was made on.",
)
@click.option(
    "--scratch",
    metavar="DIR",
    type=_FOLDER,
    help="For --offline-run: where its engine has its data.  [default: TMPDIR]",
)
@_json
def verify(
    *,
    directories: tuple[Path, ...],
    keys: tuple[Path, ...],
    resend: Path | None,
    offline_run: bool,
    bases: tuple[Path, ...],
    scratch: Path | None,
    as_json: bool,
) -> None:
    """Compare every byte of a bundle with its signed manifest. No engine is needed, and nothing on the media
    changes.

    A bundle that is spread over several media is given as several folders, in any order. The signature must
    be by a key that is pinned here (`paddock trust`) or given; without either, nobody vouches for the bundle,
    which is said, and `paddock import` takes it with --unsigned only.

    With --offline-run the bundle is tried before it leaves the building: a second engine is started that has
    no network, the bundle imported, its stack started, and a sample parsed. Needs root and dockerd. Nothing
    is left of it.

    Exit status: 0 all is as it was written, and ran; 7 not signed as it must be, older than what was imported
    here, or files are bad: each is named, and listed in a file for the workshop to send again; 8 the stack
    failed; 9 this machine cannot run it; 130 interrupted.
    """
    if not offline_run and (bases or scratch):
        raise UsageError("--base, --scratch: found without --offline-run, which they belong to")
    if offline_run:
        from paddock.bundle.trial import privateengine

        privateengine.require_means()

    from paddock.bundle.check import sequences, trust
    from paddock.bundle.check import verify as verification
    from paddock.bundle.check.keys import KeyStore
    from paddock.bundle.format.reader import OpenBundle
    from paddock.bundle.site import state as site_state

    report = console.TerminalReporter()
    state, good = site_state.folder(), list[site_state.GoodPart]()
    with OpenBundle.open(directories) as bundle:
        demanded = KeyStore(own=state).demanded(keys)
        signed = trust.check(bundle, demanded)
        if not demanded:
            report.warn(
                "no key is pinned here or given, so nobody vouches for this bundle;"
                f" only `paddock import --unsigned {bundle.folders}` takes it"
            )
        sequences.check(bundle.manifest, signed, state, folders=bundle.folders)

        def found_good(name: str) -> None:
            good.append(site_state.GoodPart.read(name, bundle.path(name)))

        result = verification.verify(bundle, report=report, found_good=found_good)
    for note in result.notes:
        report.warn(note)
    if result.resend:
        _write_resend(result, resend or Path(f"resend-{result.bundle}.txt"), report)
    if not offline_run or result.problems or not as_json:
        _show_verification(result, signed, as_json=as_json)
    verification.require_good(result)
    if offline_run:
        from paddock.bundle.site.incoming import ImportRequest
        from paddock.bundle.trial.run import run_offline

        places = tuple(directory.absolute() for directory in directories)
        request = ImportRequest(directories=places, keys=keys, unsigned=not demanded, bases=bases)
        tried = run_offline(request, verified=good, scratch=scratch, report=report)
        _show_offline_run(tried, _verification_record(result, signed), as_json=as_json)


@click.group("bundle")
def bundle() -> None:
    """Show what is in a bundle, or compare two."""


@bundle.command("inspect")
@_directories
@_json
def inspect(*, directories: tuple[Path, ...], as_json: bool) -> None:
    """Show what a bundle says of itself; only its small files are read, and nothing is checked.

    Exit status: 0 shown; 7 there is no bundle.
    """
    from paddock.bundle.check import trust
    from paddock.bundle.format.reader import OpenBundle

    with OpenBundle.open(directories) as opened:
        manifest, signed = opened.manifest, trust.check(opened, ())
    if as_json:
        console.result_json({"id": manifest.id, "signed": _signed_record(signed), **asdict(manifest)})
        return
    for name, value in _facts(manifest, signed):
        console.result(f"{name + ':':<11} {value}")
    console.result("")
    console.table(
        ["IMAGE", "ID", "LAYERS"],
        [[image.reference, _short(image.config), str(len(image.layers))] for image in manifest.images],
    )
    console.result("")
    console.table(
        ["LAYER", "CARRIED", "BYTES", "UNPACKED"],
        [_layer_row(layer, manifest) for layer in manifest.layers],
    )


@bundle.command("diff")
@click.argument("old", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("new", type=click.Path(path_type=Path, file_okay=False, exists=True))
@_json
def diff(*, old: Path, new: Path, as_json: bool) -> None:
    """Show what changed from the bundle in OLD to the one in NEW: images, software, files, layers.

    Only the manifests and software lists are read, and nothing is checked: `paddock verify` does that.

    Exit status: 0 shown; 7 there is no bundle, or a software list is missing.
    """
    from paddock.bundle.check.difference import compare
    from paddock.bundle.format.reader import OpenBundle

    with OpenBundle.open([old]) as before, OpenBundle.open([new]) as after:
        difference = compare(before, after)
    if as_json:
        console.result_json(asdict(difference))
        return
    rows = _difference_rows(difference)
    if rows:
        console.table(["WHAT", "NAME", "OLD", "NEW"], rows)
    else:
        console.TerminalReporter().say("both bundles carry the same")


bundle.add_command(trust_add, "trust")  # its name until `paddock trust` came


def _write_resend(result: Verification, path: Path, report: Reporter) -> None:
    """Write the list of what to send again; it is printed, too, so a folder that refuses it is no failure."""
    from paddock.bundle.check.verify import write_resend

    try:
        write_resend(result, path)
    except OSError as failure:
        report.warn(f"{path}: cannot be written ({failure.strerror}); --resend names another file")
    else:
        report.say(f"{path}: {len(result.resend)} files to send again")


def _show_verification(result: Verification, signed: Signed | None, *, as_json: bool) -> None:
    if as_json:
        console.result_json(_verification_record(result, signed))
    elif result.problems:
        rows = [[problem.name, problem.fault, problem.found] for problem in result.problems]
        console.table(["FILE", "FAULT", "FOUND"], rows)
    else:
        size = console.size(result.bytes)
        console.result(f"bundle {result.bundle}: {result.files} files, {size}, all as written")


def _verification_record(result: Verification, signed: Signed | None) -> dict[str, Any]:
    return {**asdict(result), "resend": list(result.resend), "signed": _signed_record(signed)}


def _show_offline_run(tried: OfflineRun, verified: dict[str, Any], *, as_json: bool) -> None:
    from paddock.weights.markers import TEST_NOTICE

    if as_json:
        console.result_json({**verified, "offline_run": asdict(tried)})
        return
    console.result(f"imported without a network in {tried.import_seconds:.0f} s ({tried.store} store)")
    started = tried.started
    if started is None:
        console.result(f"not started: {tried.left_out}")
        return
    console.result(
        f"{started.stack}: ready after {started.ready_seconds:.0f} s,"
        f" {started.pages} pages parsed in {started.parse_seconds:.1f} s"
    )
    if started.test_weights:
        console.result(TEST_NOTICE)
    if started.notice:
        console.result(started.notice)
    for line in started.markdown.splitlines()[:_SHOWN_LINES]:
        console.result(f"  | {line}")


def _signed_record(signed: Signed | None) -> dict[str, Any] | None:
    return asdict(signed) if signed else None


def _facts(manifest: Manifest, signed: Signed | None) -> list[tuple[str, str]]:
    stack, parts, files = manifest.stack, manifest.parts, manifest.files
    size = console.size(sum(part.size for part in parts) + sum(file.size for file in files))
    facts = [
        ("bundle", manifest.id),
        ("kind", manifest.kind),
        ("platform", manifest.platform),
        ("stack", f"{stack.name} ({stack.backend}, {stack.model}, {stack.variant})" if stack else "none"),
        ("written by", f"paddock {manifest.tool}"),
        ("size", f"{size} in {len(parts)} parts and {len(files)} files"),
        ("signature", f"key {signed.key_id}, sequence {signed.sequence}, not checked" if signed else "none"),
    ]
    if manifest.base:
        facts.append(("needs", f"{len(manifest.base.layers)} layers at the site"))
    return facts


def _layer_row(layer: Layer, manifest: Manifest) -> list[str]:
    from paddock.bundle.format.manifest import Carried

    blob = {Carried.WHOLE: layer.digest, Carried.RECIPE: layer.recipe, Carried.BASE: None}[layer.carried]
    carried = manifest.blob(blob) if blob else None
    return [
        _short(layer.diff_id),
        layer.carried,
        console.size(carried.size if carried else 0),
        console.size(layer.raw_size),
    ]


def _difference_rows(difference: Difference) -> list[list[str]]:
    kinds = (("image", difference.images), ("software", difference.software), ("file", difference.files))
    return [
        *(_change_row(kind, change) for kind, changes in kinds for change in changes),
        *(
            ["layer", _short(layer.diff_id), console.size(layer.raw_size), "-"]
            for layer in difference.removed
        ),
        *(["layer", _short(layer.diff_id), "-", console.size(layer.raw_size)] for layer in difference.added),
    ]


def _change_row(kind: str, change: Change) -> list[str]:
    short = str if kind == "software" else _short
    return [kind, change.name, *(short(value) if value else "-" for value in (change.before, change.after))]


def _short(digest: str) -> str:
    """A digest as `docker images` shows it."""
    return digest.removeprefix("sha256:")[:12]
