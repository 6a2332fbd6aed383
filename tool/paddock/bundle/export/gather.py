"""Finding what a bundle is to carry: the images of a stack, others that were asked for, and all files.

This comes before anything is written: images that are of two platforms, of another target or not in the
engine are refused here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddock import __version__, paths
from paddock.bundle.export.contents import CarriedFile, Contents, SourceImage
from paddock.bundle.format.imagenames import as_listed, is_name, repository, with_tag
from paddock.bundle.format.manifest import DELTA_ARCHIVE, FULL_ARCHIVE, StackName
from paddock.bundle.format.revoked import REVOKED, revoked_to_bytes
from paddock.bundle.format.signature import PublicKey
from paddock.bundle.format.stackfiles import OF_THE_BUNDLE, STACK
from paddock.bundle.imagestore.layers import EngineLayers
from paddock.bundle.imagestore.tags import is_staging
from paddock.errors import BundleError, PreflightError, UsageError
from paddock.matrix.images import TOOL
from paddock.matrix.load import load_registry
from paddock.matrix.records import Stack
from paddock.render.renderer import Renderer
from paddock.stack.configuration import Configuration
from paddock.stack.entrance import DOOR
from paddock.stack.envfile import with_setting
from paddock.stack.folder import (
    COMPOSE_FILE,
    FETCH_FILE,
    IMAGES_FOLDER,
    OVERRIDE_FILES,
    PROGRAMS_VARIABLE,
    SITE_FILE,
    StackFolder,
)

_PROGRAMS = "../../upstream"  # from images/, unless .env says otherwise
_PROGRAMS_IN_BUNDLE = "upstream"


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeStack:
    """A stack to be carried, and its folder."""

    stack: Stack
    folder: StackFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to be carried: a stack, further images, the tool's image."""

    whole: WholeStack | None
    references: tuple[str, ...]  # of the further images
    tool_prefix: str | None  # of the tool's image; None leaves it out
    revoked: tuple[PublicKey, ...] = ()  # keys that sites are no longer to trust
    delta: bool = False  # for a site that has some of it already


def gather(layers: EngineLayers, request: Request, templates: Path) -> Contents:
    """What is to be carried.

    Raises BundleError for images that do not fit together, PreflightError for images that are not in the
    engine.
    """
    whole = request.whole
    configuration = whole.folder.read() if whole else None
    named = tuple(_of_the_stack(service.image) for service in configuration.services) if configuration else ()
    if not named and not request.references:
        raise UsageError("export: found neither a target nor --image, expected at least one of them")
    tool = None if request.tool_prefix is None else TOOL.reference(prefix=request.tool_prefix)
    built = dict.fromkeys(named, f"`paddock build {whole.folder.options}`" if whole else "")
    built |= {tool: "`paddock build tool`"} if tool else {}
    built |= {
        _of_the_stack(service.image): "`paddock build site`"
        for service in (configuration.services if configuration else ())
        if service.image.rpartition("/")[2].startswith(f"{service.name}:")
    }
    further = (_carried_as(layers, reference) for reference in request.references)
    images = _images(layers, tuple(dict.fromkeys((*named, *further, *built))), built)
    if whole and configuration:
        roles = {part.role for part in whole.stack.parts}
        served = {_of_the_stack(service.image) for service in configuration.services if service.name in roles}
        _require_match(whole, [image for image in images if image.reference in served])
    platform = images[0].platform
    return Contents(
        platform=platform,
        stack=_stack_name(whole.stack) if whole else None,
        images=images,
        files=(
            *_top_files(templates, whole.stack.name if whole else "images", platform, delta=request.delta),
            *_revoked(request.revoked),
            *(_wrapper(templates, request.tool_prefix) if request.tool_prefix is not None else ()),
            *(stack_files(whole.folder, configuration) if whole and configuration else ()),
            *_documents(),
            _vulnerabilities(templates),
        ),
    )


def _images(
    layers: EngineLayers, references: Sequence[str], built: Mapping[str, str]
) -> tuple[SourceImage, ...]:
    """The images behind these references. `built` says which command makes those of ours."""
    found = {reference: layers.image(reference) for reference in references}
    if missing := [reference for reference, image in found.items() if image is None]:
        raise _not_built(missing, built)
    images = tuple(
        SourceImage(
            reference=reference,
            platform=image.platform,
            config=layers.configuration(image),
            layers=image.layers,
        )
        for reference, image in found.items()
        if image is not None
    )
    _require_one_platform(images)
    return images


def _of_the_stack(reference: str) -> str:
    """The name of an image of the stack. Raises UsageError for one that an engine at a site cannot give."""
    tagged = with_tag(reference)
    if is_name(tagged):
        return tagged
    raise UsageError(
        f"the stack: found the image {reference}, expected NAME:TAG: an engine that loads it cannot give it"
        " another name",
        hint="name it by a tag in compose.yaml, compose.override.yaml or .env",
    )


def _carried_as(layers: EngineLayers, reference: str) -> str:
    """The name under which an image is carried that --image calls `reference`.

    An id or a digest stands for the one name that its image has. Raises UsageError where it has several
    names, or none.
    """
    tagged = as_listed(with_tag(reference))
    if is_name(tagged) and layers.image(tagged) is not None:
        return tagged
    image = layers.image(reference)
    if image is None and not is_name(tagged):
        raise UsageError(
            f"--image: found {reference}, expected NAME:TAG", hint="`docker images` lists the names here"
        )
    if image is None:
        return tagged  # which is missing
    names = [name for name in image.references if is_name(name) and not is_staging(name)]
    if "@" in reference:
        names = [name for name in names if repository(name) == repository(as_listed(reference))]
    if len(names) == 1:
        return names[0]
    own = f"paddock-carried:{image.id.partition(':')[2][:12]}"
    raise UsageError(
        f"--image: found {reference}, an image with {len(names) or 'no'} names, expected one of its names:"
        " only a name can be given at a site",
        hint=f"give --image {' or --image '.join(names)}"
        if names
        else f"name it, `docker tag {image.id} {own}`, and give --image {own}",
    )


def _not_built(missing: Sequence[str], built: Mapping[str, str]) -> PreflightError:
    commands = dict.fromkeys(built[reference] for reference in missing if reference in built)
    hint = "`docker images` lists those that are there"
    if commands:
        hint = f"build them: {' and '.join(commands)}"
    return PreflightError(f"Docker Engine: found no image {', '.join(missing)}", hint=hint)


def _require_one_platform(images: Iterable[SourceImage]) -> None:
    platforms = sorted({image.platform for image in images})
    if len(platforms) > 1:
        named = ", ".join(f"{image.reference} is for {image.platform}" for image in images)
        raise BundleError(
            f"the images: found {' and '.join(platforms)}, expected one platform; {named}",
            hint="a bundle is for one kind of host; make one for each",
        )


def _require_match(whole: WholeStack, images: Iterable[SourceImage]) -> None:
    """Raise BundleError unless the images were built for the stack, and for a platform that it runs on."""
    stack = whole.stack
    expected = {"io.paddock.target": stack.target.name, "io.paddock.variant": str(stack.variant)}
    for image in images:
        if image.platform not in stack.target.platforms:
            raise BundleError(
                f"{image.reference}: found an image for {image.platform}, expected"
                f" {' or '.join(stack.target.platforms)}, which {stack.target.name} runs on",
                hint="build it on a machine of that architecture",
            )
        for label, value in expected.items():
            if (found := image.labels.get(label, value)) != value:
                raise BundleError(
                    f"{image.reference}: found {label}={found}, expected {value}",
                    hint=f"build the images of this stack again: `paddock build {whole.folder.options}`",
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
    """The stack as it would start here: compose.yaml, what it extends, mounts of its folder, settings.

    The programs for upstream's images lie beside the folder, for all stacks; a bundle carries them inside it.
    """
    mounted = [bind.source for service in configuration.services for bind in service.binds]
    extended = (folder.path / IMAGES_FOLDER).rglob("*")
    inside = [path for path in (*mounted, *extended) if path.is_relative_to(folder.path)]
    names = {
        COMPOSE_FILE,
        FETCH_FILE,
        *OVERRIDE_FILES,
        *(path.relative_to(folder.path).as_posix() for path in inside),
    }
    paths_by_name = {name: folder.path / name for name in names if (folder.path / name).is_file()}
    site = any(service.name == DOOR for service in configuration.services)
    paths_by_name |= {SITE_FILE: folder.path / SITE_FILE} if site else {}
    programs = _programs_for_upstream(folder, configuration)
    paths_by_name |= {f"{IMAGES_FOLDER}/{_PROGRAMS_IN_BUNDLE}/{path.name}": path for path in programs}
    files = [
        CarriedFile(path=f"{STACK}{name}", data=path.read_bytes())
        for name, path in sorted(paths_by_name.items())
    ]
    changed = {PROGRAMS_VARIABLE: f"./{_PROGRAMS_IN_BUNDLE}"} if programs else {}
    settings = _settings(folder, {**changed, **(folder.environment if site else {})})
    return (*files, CarriedFile(path=f"{STACK}.env.example", data=settings))


def _programs_for_upstream(folder: StackFolder, configuration: Configuration) -> list[Path]:
    """The programs that upstream's images are started with; none for a stack that cannot run those images."""
    upstream = folder.path / IMAGES_FOLDER / "upstream.yaml"
    if not upstream.is_file() or PROGRAMS_VARIABLE not in upstream.read_text("utf-8"):
        return []
    place = upstream.parent / folder.setting(PROGRAMS_VARIABLE, _PROGRAMS)
    if any(service.upstream for service in configuration.services) and not place.is_dir():
        raise PreflightError(
            f"{place}: is not there, expected the programs that upstream's images are started with",
            hint=f"copy compose/upstream there, or set {PROGRAMS_VARIABLE} in the stack's .env to its path",
        )
    return sorted(path for path in place.glob("*") if path.is_file())


def _settings(folder: StackFolder, changed: Mapping[str, str]) -> bytes:
    """The stack's `.env`, with the variables of this environment that choose images, and with `changed`."""
    path = folder.path / ".env"
    settings = path.read_bytes() if path.is_file() else b""
    chosen = {name: os.environ[name] for name in OF_THE_BUNDLE if name in os.environ}
    for name, value in {**chosen, **changed}.items():
        settings = with_setting(settings, name, value, path)
    return settings


def _wrapper(templates: Path, image_prefix: str) -> tuple[CarriedFile, ...]:
    """The program `paddock` for the site, which runs the tool's image."""
    text = Renderer(templates).wrapper(image_prefix)
    return (CarriedFile(path="paddock", data=text.encode(), executable=True),)


def _documents() -> tuple[CarriedFile, ...]:
    """The documents of the checkout; an installed package has none."""
    folder = paths.documents()
    if folder is None:
        return ()
    return tuple(
        CarriedFile(path=f"docs/{document.relative_to(folder).as_posix()}", data=document.read_bytes())
        for document in sorted(folder.rglob("*.md"))
    )


def _vulnerabilities(templates: Path) -> CarriedFile:
    """What is known of vulnerabilities in our images (OpenVEX), for whoever scans the software lists."""
    text = Renderer(templates).vex(load_registry(templates))
    return CarriedFile(path="sbom/openvex.json", data=text.encode())


def _revoked(keys: Sequence[PublicKey]) -> tuple[CarriedFile, ...]:
    return (CarriedFile(path=REVOKED, data=revoked_to_bytes(keys)),) if keys else ()


def _top_files(templates: Path, name: str, platform: str, *, delta: bool) -> tuple[CarriedFile, ...]:
    """The files at the top of a bundle: README.txt, and in a full one load.sh.

    In their templates `@name@` stands for a value.
    """
    values = {
        "name": name,
        "title": f"The stack {name}, to be carried" if name != "images" else "Images, to be carried",
        "version": __version__,
        "platform": platform,
        "archive": DELTA_ARCHIVE if delta else FULL_ARCHIVE,
        "of_the_bundle": "|".join(OF_THE_BUNDLE),
    }
    folder = templates / "bundle"
    if delta:
        return (CarriedFile(path="README.txt", data=_filled(folder / "README.delta.txt", values)),)
    return (
        CarriedFile(path="load.sh", data=_filled(folder / "load.sh", values), executable=True),
        CarriedFile(path="README.txt", data=_filled(folder / "README.txt", values)),
    )


def _filled(template: Path, values: dict[str, str]) -> bytes:
    text = template.read_text("utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text.encode()
