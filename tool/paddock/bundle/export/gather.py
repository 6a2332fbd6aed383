"""Finding what a bundle is to carry: the images that a stack names, others that were asked for, and all
files.

Everything is looked at before anything is written: images of two platforms, of another target or that are not
in the engine are refused here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock import __version__, paths
from paddock.bundle.export.contents import CarriedFile, Contents, SourceImage
from paddock.bundle.format.manifest import DELTA_ARCHIVE, FULL_ARCHIVE, StackName
from paddock.bundle.format.stackfiles import OF_THE_BUNDLE
from paddock.bundle.imagestore.layers import EngineLayers
from paddock.errors import BundleError, PreflightError, UsageError
from paddock.matrix.images import TOOL
from paddock.matrix.records import Stack
from paddock.render.renderer import Renderer
from paddock.stack.configuration import Configuration
from paddock.stack.folder import COMPOSE_FILE, FETCH_FILE, IMAGES_FOLDER, StackFolder

STACK = "stack"  # folder of a bundle
_OVERRIDES = ("compose.override.yaml", "compose.override.yml")


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeStack:
    """A stack that is to be carried, and its folder."""

    stack: Stack
    folder: StackFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What somebody wants carried: a stack or none, further images, and the tool's image under this prefix or
    not.

    With `delta`, for a site that has some of it already.
    """

    whole: WholeStack | None
    references: tuple[str, ...]
    tool_prefix: str | None
    delta: bool = False


def gather(layers: EngineLayers, request: Request, templates: Path) -> Contents:
    """What is to be carried. Raises what it refuses.

    BundleError for images that do not fit together, PreflightError for images that are not in the engine.
    """
    whole = request.whole
    configuration = whole.folder.read() if whole else None
    named = tuple(_tagged(each.image) for each in configuration.services) if configuration else ()
    if not named and not request.references:
        raise UsageError("export: found neither a target nor --image, expected at least one of them")
    tool = None if request.tool_prefix is None else TOOL.reference(prefix=request.tool_prefix)
    built = dict.fromkeys(named, f"`paddock build {whole.folder.options}`" if whole else "")
    built |= {tool: "`paddock build tool`"} if tool else {}
    images = _images(layers, tuple(dict.fromkeys((*named, *map(_tagged, request.references), *built))), built)
    if whole:
        _require_match(whole.stack, [each for each in images if each.reference in named])
    return Contents(
        platform=images[0].platform,
        stack=_stack_name(whole.stack) if whole else None,
        images=images,
        files=(
            *_top_files(templates, whole.stack.name if whole else "images", images, delta=request.delta),
            *(_wrapper(templates, request.tool_prefix) if request.tool_prefix is not None else ()),
            *(stack_files(whole.folder, configuration) if whole and configuration else ()),
            *_documents(),
        ),
    )


def _images(
    layers: EngineLayers, references: Sequence[str], built: Mapping[str, str]
) -> tuple[SourceImage, ...]:
    """The images behind these references. `built` says by which command those of ours are made."""
    found = [(reference, layers.image(reference)) for reference in references]
    if missing := [reference for reference, image in found if image is None]:
        commands = dict.fromkeys(built[each] for each in missing if each in built)
        hint = (
            f"build them: {' and '.join(commands)}"
            if commands
            else "`docker images` lists those that are there"
        )
        raise PreflightError(f"Docker Engine: found no image {', '.join(missing)}", hint=hint)
    images = tuple(
        SourceImage(
            reference=reference,
            platform=image.platform,
            config=layers.configuration(image),
            layers=image.layers,
        )
        for reference, image in found
        if image is not None
    )
    if len(platforms := sorted({each.platform for each in images})) > 1:
        named = ", ".join(f"{each.reference} is for {each.platform}" for each in images)
        raise BundleError(
            f"the images: found {' and '.join(platforms)}, expected one platform; {named}",
            hint="a bundle is for one kind of host; make one for each",
        )
    return images


def _require_match(stack: Stack, images: Iterable[SourceImage]) -> None:
    """The stack's images must be made for it, and for a platform that it runs on."""
    expected = {"io.paddock.target": stack.target.name, "io.paddock.variant": str(stack.variant)}
    for image in images:
        if image.platform not in stack.target.platforms:
            raise BundleError(
                f"{image.reference}: found an image for {image.platform}, expected "
                f"{' or '.join(stack.target.platforms)}, which {stack.target.name} runs on",
                hint="build it on a machine of that architecture",
            )
        for label, value in expected.items():
            if (found := image.labels.get(label, value)) != value:
                raise BundleError(
                    f"{image.reference}: found {label}={found}, expected {value}",
                    hint="build the images of this stack again (`paddock build`)",
                )


def _stack_name(stack: Stack) -> StackName:
    return StackName(
        name=stack.name,
        target=stack.target.name,
        backend=stack.backend.name,
        model=stack.model.name,
        variant=str(stack.variant),
    )


def stack_files(folder: StackFolder, configuration: Configuration) -> tuple[CarriedFile, ...]:
    """The stack as it would start here: compose.yaml, what it extends and mounts from its own folder, its
    settings.
    """
    mounted = [bind.source for service in configuration.services for bind in service.binds]
    extended = (folder.path / IMAGES_FOLDER).rglob("*")
    found = (path for path in (*mounted, *extended) if path.is_relative_to(folder.path))
    own = {path.relative_to(folder.path).as_posix() for path in found}
    names = [
        name
        for name in sorted({COMPOSE_FILE, FETCH_FILE, *_OVERRIDES, *own})
        if (folder.path / name).is_file()
    ]
    files = [CarriedFile(path=f"{STACK}/{name}", data=(folder.path / name).read_bytes()) for name in names]
    return (*files, CarriedFile(path=f"{STACK}/.env.example", data=_settings(folder)))


def _settings(folder: StackFolder) -> bytes:
    """The stack's `.env`, with what the environment says of images instead: the site has no such environment."""
    path = folder.path / ".env"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    told = {name: os.environ[name] for name in OF_THE_BUNDLE if name in os.environ}
    kept = [line for line in lines if line.partition("=")[0] not in told]
    return "".join(
        f"{line}\n" for line in [*kept, *(f"{name}={value}" for name, value in told.items())]
    ).encode()


def _wrapper(templates: Path, image_prefix: str) -> tuple[CarriedFile, ...]:
    """The program `paddock` of the site, which runs the tool's image."""
    text = Renderer(templates).wrapper(image_prefix)
    return (CarriedFile(path="paddock", data=text.encode(), executable=True),)


def _documents() -> tuple[CarriedFile, ...]:
    """The documents of the checkout; an installed package has none."""
    folder = paths.documents()
    found = sorted(folder.glob("*.md")) if folder else []
    return tuple(CarriedFile(path=f"docs/{each.name}", data=each.read_bytes()) for each in found)


def _top_files(
    templates: Path, name: str, images: Sequence[SourceImage], *, delta: bool
) -> tuple[CarriedFile, ...]:
    """What is at the top of a bundle: a text, and a script in a full one. `@name@` stands for a value in
    them.
    """
    values = {
        "name": name,
        "title": f"The stack {name}, to be carried" if name != "images" else "Images, to be carried",
        "version": __version__,
        "platform": images[0].platform,
        "archive": DELTA_ARCHIVE if delta else FULL_ARCHIVE,
        "of_the_bundle": "|".join(OF_THE_BUNDLE),
        "images": "\n".join(f"{each.reference} {_as_engines_print(each.layers)}" for each in images),
    }
    folder = templates / "bundle"
    text = CarriedFile(
        path="README.txt", data=_filled(folder / f"README{'.delta' if delta else ''}.txt", values)
    )
    script = CarriedFile(path="load.sh", data=_filled(folder / "load.sh", values), executable=True)
    return (text,) if delta else (script, text)


def _filled(template: Path, values: dict[str, str]) -> bytes:
    text = template.read_text("utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text.encode()


def _as_engines_print(layers: Sequence[str]) -> str:
    """What `docker image inspect --format '{{json .RootFS.Layers}}'` prints."""
    return json.dumps(layers, separators=(",", ":"))


def _tagged(reference: str) -> str:
    """With the tag that engines assume where none is given."""
    return reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
