"""`paddock models`: fetch, make test weights, list and check."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from paddock import console
from paddock.errors import UsageError
from paddock.matrix.records import Source, WeightsRole
from paddock.weights.markers import DEFAULT_TEXT

if TYPE_CHECKING:
    from paddock.matrix.records import WeightSet
    from paddock.matrix.registry import Registry
    from paddock.weights.checking import Stored
    from paddock.weights.installing import Outcome
    from paddock.weights.lockfile import Kind


def _default_directory() -> Path:
    from paddock import paths
    from paddock.building import settings

    workspace = paths.workspace()
    return settings.models_dir(workspace, settings.variables(workspace))


def _registry() -> Registry:
    from paddock import paths
    from paddock.matrix.load import load_registry

    return load_registry(paths.templates())


def _complete_model(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    return [
        CompletionItem(model.name, help=model.description)
        for model in _registry().models.values()
        if model.name.startswith(incomplete)
    ]


_directory = click.option(
    "--to",
    "models_dir",
    default=_default_directory,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    show_default="MODELS_DIR as for builds, or models/",
    help="The models directory.",
)
_target = click.option(
    "--target",
    default="cpu",
    show_default=True,
    help="The target whose pipeline API image makes layout models here.",
)
_roles = click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([role.value for role in WeightsRole]),
    help="Only sets with this role; may be repeated.",
)
_image = click.option("--image", metavar="REFERENCE", help="That image, if it is not called as usual.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("models")
def models() -> None:
    """Fetch model weights, check them, or make small test weights.

    Weights lie in one directory per set, named as upstream names it, beside models.lock.json, which records
    where each set came from and the SHA-256 of every file.
    """


@models.command("fetch")
@click.argument("model", shell_complete=_complete_model)
@click.option(
    "--source",
    type=click.Choice([source.value for source in Source]),
    help="Ask only this one. Otherwise the first of bos, huggingface, modelscope that answers.",
)
@_directory
@click.option(
    "--from",
    "carried",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Copy weights carried by hand: a folder of sets or upstream's tars, a set, or a tar.",
)
@_roles
@click.option(
    "--backend",
    metavar="NAME",
    help="What a stack with this backend reads: llama.cpp reads gguf instead of vlm.",
)
@click.option(
    "--replace", is_flag=True, help="Take the files anew, and accept that they differ from the lock."
)
@_target
@_image
@click.option(
    "--ca-bundle",
    envvar="CA_BUNDLE",
    show_envvar=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Certificates to trust, at a site that inspects TLS.",
)
@_json
def fetch(
    *,
    model: str,
    source: str | None,
    models_dir: Path,
    carried: Path | None,
    roles: tuple[str, ...],
    backend: str | None,
    replace: bool,
    target: str,
    image: str | None,
    ca_bundle: Path | None,
    as_json: bool,
) -> None:
    """Have the weights of MODEL in the models directory.

    The weights of the model embedded are not fetched: paddock carries them and writes them, its layout
    network in the pipeline API image, so build that first.

    A set that is here already stays; test weights are replaced. Interrupted downloads go on when the command
    is repeated. Each file is checked against the hash that paddock has recorded for it, else against what its
    source publishes, and against models.lock.json. UNLOCKED_WEIGHTS=1 does not look at what is recorded.

    Mirrors: HF_ENDPOINT, MODELSCOPE_ENDPOINT, PADDOCK_BOS_ENDPOINT. Proxies: HTTPS_PROXY, NO_PROXY.

    Exit status: 0 all sets are here; 2 unknown MODEL; 7 no source gave a set, or its files are wrong; 9 the
    disk is too small or cannot be written; 130 interrupted.
    """
    if source and carried:
        raise UsageError("--source and --from: found both, expected one of them")

    from paddock.ownweights.embedded.sets import make_embedded
    from paddock.weights import carrying, fetching
    from paddock.weights.sources import Endpoints

    known = _registry()
    chosen = _chosen_sets(known, model, roles, backend)
    report = console.TerminalReporter()
    if carried is not None:
        done = carrying.carry(chosen, carried=carried, models_dir=models_dir, report=report, replace=replace)
    elif chosen[0].made:
        api_image = image or _api_image(known, target)
        done = make_embedded(
            known.model(model), chosen, models_dir=models_dir, api_image=api_image, report=report
        )
    else:
        done = fetching.fetch(
            chosen,
            models_dir=models_dir,
            report=report,
            source=Source(source) if source else None,
            endpoints=Endpoints.of(os.environ),
            ca_bundle=str(ca_bundle) if ca_bundle else None,
            replace=replace,
        )
    _show_outcomes(done, as_json=as_json)


def _chosen_sets(
    known: Registry, model: str, roles: Sequence[str], backend: str | None
) -> Sequence[WeightSet]:
    from paddock.weights import fetching
    from paddock.weights.installing import without_hashes

    reads = known.backend(backend).weights_role if backend else WeightsRole.VLM
    chosen = fetching.wanted(known.model(model).weights, [WeightsRole(role) for role in roles], vlm=reads)
    if not chosen:
        raise UsageError(f"model {model}: found no weights with the role {', '.join(roles)}")
    if os.environ.get("UNLOCKED_WEIGHTS"):
        console.TerminalReporter().warn("weights are not compared with the hashes recorded for them")
        return [without_hashes(weights) for weights in chosen]
    return chosen


@models.command("make-test")
@click.argument("model", shell_complete=_complete_model)
@_directory
@_roles
@click.option(
    "--text",
    default=DEFAULT_TEXT,
    show_default=True,
    help="The answer to everything; each word once.",
)
@_target
@_image
@_json
def make_test_(
    *,
    model: str,
    models_dir: Path,
    roles: tuple[str, ...],
    text: str,
    target: str,
    image: str | None,
    as_json: bool,
) -> None:
    """Make small test weights for MODEL: they let a stack run, and read nothing.

    The language model answers one fixed text, the layout model finds six fixed regions. Both are marked and
    recorded as test weights; `models fetch` replaces them. The layout model is made in the pipeline API
    image: build it first.

    Exit status: 0 all sets are made; 2 unknown MODEL or unfit --text; 5 no engine; 7 other weights are there;
    9 the image is not there.
    """
    from paddock.ownweights.testweights.sets import make_test

    known = _registry()
    made = make_test(
        known.model(model),
        models_dir=models_dir,
        api_image=image or _api_image(known, target),
        report=console.TerminalReporter(),
        roles=[WeightsRole(role) for role in roles],
        text=text,
    )
    _show_outcomes(made, as_json=as_json)


@models.command("list")
@_directory
@_json
def list_(models_dir: Path, as_json: bool) -> None:
    """Show which weight sets are here, of what kind, how large, and which models need them."""
    from paddock.weights import checking

    known = _registry().models.values()
    found = [(stored, checking.needed_by(stored.name, known)) for stored in checking.stored(models_dir)]
    if as_json:
        console.result_json([_stored_record(stored, needed) for stored, needed in found])
        return
    rows = [
        [
            stored.name,
            _kind(stored.kind),
            stored.source or "-",
            console.size(stored.size),
            ", ".join(needed) or "-",
        ]
        for stored, needed in found
    ]
    console.table(["SET", "KIND", "SOURCE", "SIZE", "NEEDED BY"], rows)
    if not found:
        console.TerminalReporter().say(f"{models_dir}: no weights are here")


@models.command("check")
@click.argument("sets", nargs=-1)
@_directory
@_json
def check(sets: tuple[str, ...], models_dir: Path, as_json: bool) -> None:
    """Hash every file again and compare it with models.lock.json.

    SETS are names of weight sets; without them, all that are here or in the lock. Exit status 7 when anything
    differs.
    """
    from paddock.weights import checking

    checked = checking.inspect(models_dir, list(sets) or None, report=console.TerminalReporter())
    if as_json:
        console.result_json([asdict(weights) for weights in checked])
    elif checked:
        rows = [
            [
                weights.name,
                _kind(weights.kind),
                str(weights.files),
                console.size(weights.size),
                f"{len(weights.problems)} bad" if weights.problems else "ok",
            ]
            for weights in checked
        ]
        console.table(["SET", "KIND", "FILES", "SIZE", "STATE"], rows)
    checking.refuse_problems(models_dir, checked)


def _api_image(known: Registry, target: str) -> str:
    """What the target's pipeline API image is called, here and now."""
    from paddock import __version__, paths
    from paddock.building import settings
    from paddock.matrix.images import stack_images
    from paddock.matrix.records import IMAGE_PREFIX

    variables = settings.variables(paths.workspace())
    prefix = variables.get("IMAGE_PREFIX", IMAGE_PREFIX)
    version = variables.get("IMAGE_VERSION", __version__)
    api = next((image for image in stack_images(known.stack(target=target)) if image.role == "api"), None)
    if api is None:
        raise UsageError(f"target {target}: found no pipeline API, expected a target that has one")
    return api.reference(prefix=prefix, version=version)


def _show_outcomes(done: Sequence[Outcome], *, as_json: bool) -> None:
    if as_json:
        console.result_json([_outcome_record(outcome) for outcome in done])
        return
    rows = [
        [
            outcome.name,
            outcome.how,
            outcome.kind,
            outcome.source or "-",
            console.size(outcome.size),
            str(outcome.path),
        ]
        for outcome in done
    ]
    console.table(["SET", "DONE", "KIND", "SOURCE", "SIZE", "PATH"], rows)


def _outcome_record(outcome: Outcome) -> dict[str, object]:
    return {
        "name": outcome.name,
        "done": outcome.how,
        "kind": outcome.kind,
        "source": outcome.source,
        "size": outcome.size,
        "path": str(outcome.path),
    }


def _stored_record(stored: Stored, needed: Sequence[str]) -> dict[str, object]:
    return {
        "name": stored.name,
        "kind": stored.kind,
        "source": stored.source,
        "size": stored.size,
        "files": stored.files,
        "path": str(stored.path),
        "needed_by": list(needed),
    }


def _kind(kind: Kind | None) -> str:
    return kind or "not recorded"
