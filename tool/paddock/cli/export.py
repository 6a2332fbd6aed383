"""`paddock export`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from paddock import console
from paddock.cli.stackoptions import StackChoice, stack_options
from paddock.errors import UsageError

if TYPE_CHECKING:
    from paddock.bundle.delta.making import Delta
    from paddock.bundle.export.contents import Contents
    from paddock.bundle.export.gather import WholeStack
    from paddock.bundle.export.plan import ExportPlan
    from paddock.bundle.format.manifest import Manifest
    from paddock.bundle.imagestore.layers import EngineLayers
    from paddock.report import Reporter

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SMALLEST_PART = 1 << 20


@click.command("export")
@stack_options("target", "[TARGET]", required=False)
@click.option(
    "--image", "images", multiple=True, metavar="REF", help="Another image to carry; may stand repeatedly."
)
@click.option(
    "--site", is_flag=True, help="Carry site.yaml and the images of the door and what belongs to it."
)
@click.option("--tool/--no-tool", default=True, help="Carry the tool's image.  [default: tool]")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory of the bundle: empty, or that of the same export, which then goes on.",
)
@click.option(
    "--part-size",
    default="3900M",
    show_default=True,
    metavar="SIZE",
    help="Largest file; K, M, G are powers of 1024, KB, MB, GB of 1000.",
)
@click.option(
    "--base",
    "bases",
    multiple=True,
    metavar="BUNDLE_OR_RECEIPT",
    type=click.Path(path_type=Path),
    help="What the site has: the folder of a bundle that it imported, or the file of its receipt. "
    "Makes a delta: only what is not there. May stand repeatedly.",
)
@click.option(
    "--sign",
    metavar="KEY",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Sign the bundle with this secret key (`paddock keygen KEY`).",
)
@click.option(
    "--revoke",
    "revoked",
    multiple=True,
    metavar="PUB",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Have sites that import it never trust this key again. May stand repeatedly; needs --sign.",
)
@click.option(
    "--plan", "only_plan", is_flag=True, help="Say what would be written, layer by layer, and write nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(
    *,
    choice: StackChoice,
    images: tuple[str, ...],
    site: bool,
    tool: bool,
    output: Path | None,
    part_size: str,
    bases: tuple[Path, ...],
    sign: Path | None,
    revoked: tuple[Path, ...],
    only_plan: bool,
    as_json: bool,
) -> None:
    """Write images, stack and documents into one directory of parts that can be carried to a host without a
    network.

    TARGET is a target such as cpu; its images are those that its stack names. Without a TARGET, a bundle of
    the images given with --image. A stopped export goes on where it was, with the same command.

    With --base it is a delta: layers that the site has are left out, others are made there from those that
    are like them.

    Exit status: 0 written; 2 no such target; 5 no engine; 7 images that do not fit together, a bad key, or a
    full or bad medium; 9 an image is not in the engine, or the disk too small; 130 interrupted.
    """
    if not choice.target and choice.has_options:
        raise UsageError("export: found --backend, --model or --offline without a target")
    if site and not choice.target:
        raise UsageError("export: found --site without a target")
    if output is None and not only_plan:
        raise UsageError("export: found no --output DIR, expected one, or --plan")
    if revoked and sign is None:
        raise UsageError(
            "--revoke: found no --sign KEY, expected one: sites heed only what a trusted key signed"
        )
    size = read_size(part_size)

    from paddock import engine, paths
    from paddock.building.settings import build_settings
    from paddock.bundle.export.gather import Request, gather
    from paddock.bundle.export.plan import plan_export
    from paddock.bundle.export.writing import write_bundle
    from paddock.bundle.format.signature import read_public, read_secret
    from paddock.bundle.imagestore.layers import EngineLayers

    key = read_secret(sign) if sign else None
    report = console.TerminalReporter()
    request = Request(
        whole=_whole_stack(choice, report, site=site) if choice.target else None,
        references=images,
        tool_prefix=build_settings(paths.workspace(), {}).image_prefix if tool else None,
        revoked=tuple(map(read_public, revoked)),
        delta=bool(bases),
    )
    with EngineLayers(engine.connect(timeout=None)) as layers:
        contents = gather(layers, request, paths.templates())
        with _delta(bases, contents, layers) as delta:
            if output is None or only_plan:
                _show_plan(plan_export(contents, layers, delta=delta), as_json=as_json)
                return
            if layers.reads_in_place:
                _look_for_room(contents, layers, output, delta, report)
            manifest = write_bundle(
                contents, output, layers, report=report, part_size=size, key=key, delta=delta
            )
    _show(manifest, output, as_json=as_json)


@contextmanager
def _delta(bases: tuple[Path, ...], contents: Contents, layers: EngineLayers) -> Iterator[Delta | None]:
    """What the delta is made on; None for a full bundle."""
    from paddock.bundle.delta.making import Delta
    from paddock.bundle.delta.sitelayers import open_bases

    if not bases:
        yield None
        return
    with open_bases(bases, contents.platform) as site, Delta(site, layers, contents.layers) as delta:
        yield delta


def _look_for_room(
    contents: Contents, layers: EngineLayers, output: Path, delta: Delta | None, report: Reporter
) -> None:
    """Refuse a disk that is surely too small; warn of one that may be."""
    from paddock.bundle.export.plan import plan_export, require_room, warn_of_room
    from paddock.bundle.export.writing import finished_layers

    done = finished_layers(output)
    if delta is None or not delta.has_bases():
        require_room(plan_export(contents, layers, done=done, delta=delta), output)
    else:
        warn_of_room(plan_export(contents, layers, done=done | delta.site.layers), output, report)


def _whole_stack(choice: StackChoice, report: Reporter, *, site: bool) -> WholeStack:
    from paddock import paths
    from paddock.bundle.export.gather import WholeStack
    from paddock.matrix.load import load_registry
    from paddock.matrix.records import Variant

    stack = choice.stack(load_registry(paths.templates()))
    folder = choice.folder(report=report)
    folder = folder.with_site() if site else folder
    if stack.variant is Variant.ONLINE:
        report.warn(f"{stack.name} reads its weights from a folder that is not in the bundle: carry it too")
    return WholeStack(stack=stack, folder=folder)


def read_size(size: str) -> int:
    """The bytes that `--part-size` stands for. Raises UsageError."""
    found = re.fullmatch(r"(\d+)([KMG]?B?)", size.strip().upper())
    if not found or found[2] not in _UNITS:
        raise UsageError(
            f"--part-size: found {size}, expected a number with K, M, G, KB, MB or GB, such as 3900M"
        )
    if (number := int(found[1]) * _UNITS[found[2]]) < _SMALLEST_PART:
        raise UsageError(f"--part-size: found {size}, expected at least 1M")
    return number


def _show_plan(planned: ExportPlan, *, as_json: bool) -> None:
    if as_json:
        layers = [asdict(layer) for layer in planned.layers]
        console.result_json({"size": planned.size, "files": planned.files, "layers": layers})
        return
    rows = [
        [
            layer.diff_id[7:19],
            f"{layer.raw_size:,}",
            f"{layer.size:,}",
            layer.carried,
            ", ".join(layer.images),
            layer.reason,
        ]
        for layer in planned.layers
    ]
    rows.append(["", "", f"{planned.files:,}", "", "stack, documents, scripts", ""])
    rows.append(["", "", f"{planned.size:,}", "", "in all, about", ""])
    shown = 6 if any(layer.reason for layer in planned.layers) else 5
    headings = ["layer", "bytes", "in the bundle", "carried", "for", "because"]
    console.table(headings[:shown], [row[:shown] for row in rows])


def _show(manifest: Manifest, output: Path, *, as_json: bool) -> None:
    parts = [{"name": part.name, "size": part.size} for part in manifest.parts]
    if as_json:
        console.result_json({"directory": str(output), "id": manifest.id, "parts": parts})
    else:
        size = sum(part.size for part in manifest.parts)
        console.result(f"{output}: bundle {manifest.id}, {len(parts)} parts, {size:,} bytes")
