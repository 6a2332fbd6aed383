"""`paddock export`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from paddock import console, engine, paths, registry, stackfolder
from paddock.bundle.contents import WholeStack, gather
from paddock.bundle.enginelayers import EngineLayers
from paddock.bundle.export import PART_SIZE
from paddock.bundle.export import export as write_bundle
from paddock.errors import UsageError
from paddock.matrix import Variant
from paddock.report import Reporter

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SMALLEST_PART = 1 << 20


@click.command("export")
@click.argument("target", required=False)
@click.option("--backend", metavar="NAME", help="Serving program, where it is not the target's default.")
@click.option("--model", metavar="NAME", help="Model, where it is not the target's default.")
@click.option("--offline", is_flag=True, help="The variant whose images hold the weights.")
@click.option("--image", "images", multiple=True, metavar="REF", help="Another image to carry; may stand repeatedly.")
@click.option("-o", "--output", required=True, metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
              help="Directory of the bundle: empty, or that of the same export, which then goes on.")  # fmt: skip
@click.option("--part-size", default=f"{PART_SIZE >> 20}M", show_default=True, metavar="SIZE",
              help="Largest file; K, M, G are powers of 1024, KB, MB, GB of 1000.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(
    *,
    target: str | None,
    backend: str | None,
    model: str | None,
    offline: bool,
    images: tuple[str, ...],
    output: Path,
    part_size: str,
    as_json: bool,
) -> None:
    """Write images, stack and documents into one directory of parts that can be carried to a host without a network.

    TARGET is a target such as cpu; its images are those that its stack names. Without a TARGET, a bundle of the images
    given with --image. A stopped export goes on where it was, with the same command.

    Exit status: 0 written; 2 no such target; 5 no engine; 7 images that do not fit together, or a full or bad medium;
    9 an image is not in the engine; 130 interrupted.
    """
    if not target and (backend or model or offline):
        raise UsageError("export: found --backend, --model or --offline without a target")
    report = console.TerminalReporter()
    whole = _whole_stack(target, backend, model, offline=offline, report=report) if target else None
    client = engine.connect(timeout=None)
    with EngineLayers(client) as layers:
        contents = gather(client, layers, whole=whole, references=images, templates=paths.templates())
        manifest = write_bundle(contents, output, layers, report=report, part_size=_bytes(part_size))
    if as_json:
        parts = [{"name": each.name, "size": each.size} for each in manifest.parts]
        console.result_json({"directory": str(output), "id": manifest.id, "parts": parts})
    else:
        console.result(f"{output}: bundle {manifest.id}, {len(manifest.parts)} parts")


def _whole_stack(target: str, backend: str | None, model: str | None, *, offline: bool, report: Reporter) -> WholeStack:
    variant = Variant.OFFLINE if offline else Variant.ONLINE
    stack = registry.load(paths.templates()).stack(target=target, backend=backend, model=model, variant=variant)
    folder = stackfolder.locate(target, backend=backend, model=model, offline=offline, report=report)
    return WholeStack(stack=stack, folder=folder)


def _bytes(size: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG]?B?)", size.strip().upper())
    if not found or found[2] not in _UNITS:
        raise UsageError(f"--part-size: found {size}, expected a number with K, M, G, KB, MB or GB, such as 3900M")
    if (number := int(found[1]) * _UNITS[found[2]]) < _SMALLEST_PART:
        raise UsageError(f"--part-size: found {size}, expected at least 1M")
    return number
