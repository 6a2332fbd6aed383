"""`paddock build`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from paddock import console
from paddock.cli.stackoptions import StackChoice, stack_options
from paddock.errors import UsageError


@click.command("build")
@stack_options("target", "TARGET")
@click.option("--wheelhouse", metavar="DIR", help="Folder of wheels to take before any index (WHEELHOUSE).")
@click.option("--ca-bundle", metavar="FILE", help="PEM file for proxies that inspect TLS (CA_BUNDLE).")
@click.option("--pip-index-url", metavar="URL", help="Index instead of PyPI (PIP_INDEX_URL).")
@click.option("--apt-mirror", metavar="URL", help="Mirror instead of Debian's archive (APT_MIRROR).")
@click.option("--base-registry", metavar="PREFIX", help="In front of every base image (BASE_REGISTRY).")
@click.option(
    "--base", "bases", multiple=True, metavar="REFERENCE=IMAGE", help="Build on IMAGE instead of REFERENCE."
)
@click.option("--image-prefix", metavar="PREFIX", help="In front of the built images' names (IMAGE_PREFIX).")
@click.option(
    "--stand-in",
    is_flag=True,
    help="For a trial: packages from PyPI where a vendor's own index cannot be reached.",
)
@click.option("--no-cache", is_flag=True, help="Run every step again.")
@click.option("--json", "as_json", is_flag=True, help="Print the images as JSON.")
def build(
    *,
    choice: StackChoice,
    bases: tuple[str, ...],
    stand_in: bool,
    no_cache: bool,
    as_json: bool,
    **settings: str | None,
) -> None:
    """Build the two images of TARGET, both at once.

    TARGET `tool` is the image that carries paddock itself, `site` are those that `paddock up --site` adds.

    Options can stand in the environment or in .env under the names in brackets. What pip is told on this
    machine (PIP_CERT, PIP_FIND_LINKS, PIP_INDEX_URL) holds in the build too.
    """
    from paddock import paths
    from paddock.building.build import build_images, build_site, build_tool
    from paddock.building.settings import build_settings
    from paddock.matrix.images import SITE, TOOL
    from paddock.matrix.load import load_registry

    workspace = paths.workspace()
    data = load_registry(paths.templates())
    chosen = build_settings(workspace, {option.upper(): value for option, value in settings.items()})
    report = console.TerminalReporter()
    if choice.target in (TOOL.target, SITE):
        _refuse_options(choice, stand_in)
        build_shared = build_site if choice.target == SITE else build_tool
        references = build_shared(
            chosen,
            data=data,
            workspace=workspace,
            report=report,
            stand_ins=_stand_ins(bases),
            no_cache=no_cache,
        )
        _show(choice.target, references, as_json=as_json)
        return
    stack = choice.stack(data)
    references = build_images(
        stack,
        chosen,
        data=data,
        workspace=workspace,
        report=report,
        stand_ins=_stand_ins(bases),
        stand_in_packages=stand_in,
        no_cache=no_cache,
    )
    _show(stack.name, references, as_json=as_json)


def _refuse_options(choice: StackChoice, stand_in: bool) -> None:
    if choice.has_options or stand_in:
        raise UsageError(
            f"{choice.target}: found --backend, --model, --offline or --stand-in, expected none: "
            "it is no stack"
        )


def _stand_ins(bases: tuple[str, ...]) -> dict[str, str]:
    pairs = [base.partition("=") for base in bases]
    for reference, equals, image in pairs:
        if not (reference and equals and image):
            raise UsageError(f"--base {reference}{equals}{image}: expected REFERENCE=IMAGE")
    return {reference: image for reference, _, image in pairs}


def _show(name: str, references: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        console.result_json({"stack": name, "images": list(references)})
        return
    for reference in references:
        console.result(reference)
