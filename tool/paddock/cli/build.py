"""`paddock build`."""

from __future__ import annotations

import click

from paddock import console, paths
from paddock.building import settings
from paddock.building.build import build_images, build_tool
from paddock.errors import UsageError
from paddock.matrix.images import TOOL
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant


@click.command("build")
@click.argument("target")
@click.option("--backend", help="Serving program; the target's default otherwise.")
@click.option("--model", help="Model; the target's default otherwise.")
@click.option("--offline", is_flag=True, help="Put the weights into the images.")
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
    target: str,
    backend: str | None,
    model: str | None,
    offline: bool,
    wheelhouse: str | None,
    ca_bundle: str | None,
    pip_index_url: str | None,
    apt_mirror: str | None,
    base_registry: str | None,
    bases: tuple[str, ...],
    image_prefix: str | None,
    stand_in: bool,
    no_cache: bool,
    as_json: bool,
) -> None:
    """Build the two images of TARGET, both at once; TARGET `tool` is the image that carries paddock itself.

    Options can stand in the environment or in .env under the names in brackets. What pip is told on this
    machine (PIP_CERT, PIP_FIND_LINKS, PIP_INDEX_URL) holds in the build too.
    """
    workspace = paths.workspace()
    data = load_registry(paths.templates())
    options = {
        "WHEELHOUSE": wheelhouse,
        "CA_BUNDLE": ca_bundle,
        "PIP_INDEX_URL": pip_index_url,
        "APT_MIRROR": apt_mirror,
        "BASE_REGISTRY": base_registry,
        "IMAGE_PREFIX": image_prefix,
    }
    chosen = settings.build_settings(workspace, options)
    report = console.TerminalReporter()
    if target == TOOL.target:
        _refuse_choices(backend, model, offline, stand_in)
        name = TOOL.name
        references: tuple[str, ...] = (
            build_tool(
                chosen,
                data=data,
                workspace=workspace,
                report=report,
                stand_ins=_stand_ins(bases),
                no_cache=no_cache,
            ),
        )
    else:
        stack = data.stack(
            target=target,
            backend=backend,
            model=model,
            variant=Variant.OFFLINE if offline else Variant.ONLINE,
        )
        name = stack.name
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
    if as_json:
        console.result_json({"stack": name, "images": list(references)})
    for reference in () if as_json else references:
        console.result(reference)


def _refuse_choices(*given: object) -> None:
    if any(given):
        raise UsageError(
            "tool: found --backend, --model, --offline or --stand-in, expected none: it is no stack"
        )


def _stand_ins(bases: tuple[str, ...]) -> dict[str, str]:
    pairs = [base.partition("=") for base in bases]
    for reference, equals, image in pairs:
        if not (reference and equals and image):
            raise UsageError(f"--base {reference}{equals}{image}: expected REFERENCE=IMAGE")
    return {reference: image for reference, _, image in pairs}
