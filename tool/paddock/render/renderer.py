"""Rendering: from the registry and the templates to every generated file, in memory first.

`Renderer.all` returns all files as a mapping of path to text; `workspace` compares that with what is on disk.
The same input gives the same bytes. Nothing here reads the clock, the network or the engine.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import jinja2

from paddock import __version__
from paddock.errors import ConfigurationError
from paddock.matrix import advisories, pins, upstream
from paddock.matrix.images import (
    SITE,
    TOOL,
    Site,
    StackImage,
    published_images,
    shared_image,
    site_images,
    stack_images,
)
from paddock.matrix.load import load_api_images, load_shared_images, load_site
from paddock.matrix.pins import Pins
from paddock.matrix.records import (
    IMAGE_PREFIX,
    Accelerator,
    ApiImages,
    Devices,
    HostVariable,
    Image,
    Part,
    Platform,
    ServerRole,
    Stack,
    Tool,
    UpstreamImage,
    Variant,
    WeightsRole,
)
from paddock.matrix.registry import Registry

_COMMENTS = {".lua": "--", ".sql": "--"}  # how one begins in what else is copied; elsewhere with #

Files = Mapping[PurePosixPath, str]

BAKE_FILE = PurePosixPath("images/docker-bake.hcl")
VEX_FILE = PurePosixPath("images/openvex.json")
WRAPPER = PurePosixPath("images/tool/paddock.sh")
PUBLISH_SCRIPT = PurePosixPath("images/publish.sh")
UPSTREAM_PROGRAMS = PurePosixPath("compose/upstream")  # for all stacks: their images/upstream.yaml mounts it
CI_FILES = {  # in folders that hold files of others, too
    PurePosixPath(".github/workflows/images.yml"): "ci/github.yml.j2",
    PurePosixPath("docs/examples/gitlab-ci.yml"): "ci/gitlab.yml.j2",
}


class Renderer:
    """Turns templates into text; `templates` is the folder that holds image/, compose/, ci/ and locks/."""

    def __init__(self, templates: Path) -> None:
        self._templates = templates
        self._jinja = jinja2.Environment(
            loader=jinja2.FileSystemLoader(templates),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # noqa: S701 - no HTML here; each template quotes for its own format
        )

    def all(self, registry: Registry, *, also: Iterable[Stack] = ()) -> Files:
        """Every generated file: the committed stacks, and those in `also`."""
        committed = list(registry.stacks())
        stacks = list({stack.name: stack for stack in (*committed, *also)}.values())
        files: dict[PurePosixPath, str] = {}
        for stack in committed:
            files |= self.contexts(stack)
        for stack in stacks:
            files |= self.stack(stack)
        for name, image in self._shared_images.items():
            files |= self.shared(name, image)
        files[WRAPPER] = self.wrapper()
        files[BAKE_FILE] = self.bake(stacks)
        files[VEX_FILE] = self.vex(registry)
        files |= self.ci(committed)
        return dict(sorted(files.items()))

    def shared(self, name: str, shared: Tool) -> dict[PurePosixPath, str]:
        """The build context of an image that all targets share."""
        image = shared_image(name)
        folder = PurePosixPath(image.context)
        bases = self._bases(shared.image, shared.platforms)
        dockerfile = self._text(f"image/{name}/Dockerfile.j2", image=shared.image, bases=bases)
        copies = self._copies(folder, shared.files.of(shared.image))
        return {folder / "Dockerfile": dockerfile, **copies, **self._locks(folder, image, shared.platforms)}

    def wrapper(self, image_prefix: str = IMAGE_PREFIX) -> str:
        """The script that runs the tool's image, by default under this prefix."""
        return self._text("bundle/paddock.sh.j2", image=TOOL, image_prefix=image_prefix)

    def vex(self, registry: Registry) -> str:
        """What is known of vulnerabilities in what the images hold, as an OpenVEX document."""
        held = advisories.contents(self._templates, registry.targets.values())
        return advisories.openvex(advisories.load(self._templates), held)

    def contexts(self, stack: Stack) -> dict[PurePosixPath, str]:
        """The build contexts of a stack's images."""
        files: dict[PurePosixPath, str] = {}
        for part, image in zip(stack.parts, stack_images(stack), strict=True):
            files |= self._context(stack, part, image)
        return files

    def stack(self, stack: Stack) -> dict[PurePosixPath, str]:
        """The folder compose/<stack>, and what it shares with others: the programs for upstream's images."""
        folder = PurePosixPath("compose") / stack.name
        configuration = stack.backend.configuration
        templates = {
            "compose.yaml": "compose/compose.yaml.j2",
            "images/own.yaml": "compose/own.yaml.j2",
            "images/upstream.yaml": "compose/upstream.yaml.j2",
            configuration: f"compose/{configuration}.j2",
            ".env": "compose/env.j2",
        }
        if stack.api is not None:
            templates["pipeline.yaml"] = "compose/pipeline.yaml.j2"
            templates["site.yaml"] = "compose/site.yaml.j2"
        if stack.variant is Variant.ONLINE:
            templates["fetch.yaml"] = "compose/fetch.yaml.j2"
        files = {
            folder / name: self._text(template, stack=stack, site=self._site)
            for name, template in templates.items()
        }
        api_files = self._api_images.files.always
        programs = {} if upstream.reason_against(stack) else _programs_for_upstream(stack, api_files)
        shared = {UPSTREAM_PROGRAMS / name: self._copy(self._templates / at) for name, at in programs.items()}
        return files | shared

    def bake(self, stacks: Iterable[Stack]) -> str:
        """The bake file for these stacks; its paths are relative to the workspace."""
        return self._text(
            "image/docker-bake.hcl.j2",
            stacks=list(stacks),
            images=stack_images,
            tool=TOOL,
            site=SITE,
            site_images=site_images(self._site),
        )

    def ci(self, stacks: Iterable[Stack]) -> dict[PurePosixPath, str]:
        """What builds and publishes these stacks' images and the shared ones in continuous integration."""
        images = published_images(stacks, self._shared_images)
        files = {path: self._text(template, images=images) for path, template in CI_FILES.items()}
        return {**files, PUBLISH_SCRIPT: self._copy(self._templates / "ci/publish.sh")}

    def _context(self, stack: Stack, part: Part, image: StackImage) -> dict[PurePosixPath, str]:
        folder = PurePosixPath(image.context)
        bases = self._bases(part.image, stack.target.platforms)
        dockerfile = self._text(
            f"image/{part.template}/Dockerfile.j2", stack=stack, image=part.image, bases=bases
        )
        if part.role is ServerRole.API and stack.api is not None:
            names = self._api_images.files.of(part.image, stack.api.device)
        else:
            names = stack.backend.files.of(part.image)
        copies = self._copies(folder, names)
        return {
            folder / "Dockerfile": dockerfile,
            **copies,
            **self._locks(folder, image, stack.target.platforms),
        }

    def _bases(self, image: Image, platforms: Iterable[Platform]) -> Mapping[Platform, str]:
        """What a Dockerfile starts from on each platform, by digest where that is known."""
        return {
            platform: self._pins.reference(image.base.image_on(platform), platform) for platform in platforms
        }

    @functools.cached_property
    def _pins(self) -> Pins:
        return pins.load(self._templates)

    @functools.cached_property
    def _site(self) -> Site:
        return load_site(self._templates)

    @functools.cached_property
    def _shared_images(self) -> Mapping[str, Tool]:
        return load_shared_images(self._templates)

    @functools.cached_property
    def _api_images(self) -> ApiImages:
        return load_api_images(self._templates)

    def _copies(self, folder: PurePosixPath, names: Iterable[str]) -> dict[PurePosixPath, str]:
        """Files below templates/image as they are in a build context."""
        files = {}
        for name in names:
            source = self._templates / "image" / name
            if not source.is_file():
                raise ConfigurationError(
                    f"templates/image/{name}: found no such file, expected what `files` lists"
                )
            files[folder / source.name] = self._copy(source)
        return files

    def _locks(
        self, folder: PurePosixPath, image: StackImage, platforms: Iterable[Platform]
    ) -> dict[PurePosixPath, str]:
        files = {}
        for platform in platforms:
            arch = platform.rpartition("/")[2]
            lock = self._templates / "locks" / f"{image.name}.{arch}.txt"
            if lock.is_file():
                files[folder / f"requirements.{arch}.txt"] = self._copy(lock)
        return files

    def _copy(self, source: Path) -> str:
        """A file that is taken as it is, with the header put after a `#!` line."""
        text = source.read_text("utf-8")
        first, rest = text.split("\n", 1) if text.startswith("#!") else ("", text)
        header = _header(source.relative_to(self._templates).as_posix(), _COMMENTS.get(source.suffix, "#"))
        return "\n".join([*([first] if first else []), header, rest])

    def _text(self, template: str, *, stack: Stack | None = None, **names: object) -> str:
        if stack is not None:
            names |= _stack_names(stack)
        names["version"] = __version__
        names.setdefault("image_prefix", IMAGE_PREFIX)
        names["header"] = _header(template)
        try:
            return self._jinja.get_template(template).render(names)
        except jinja2.TemplateError as failure:
            raise ConfigurationError(f"templates/{template}: {failure}") from failure


def _header(template: str, comment: str = "#") -> str:
    return f"{comment} Generated by `paddock render` from templates/{template}; change that file instead."


def _stack_names(stack: Stack) -> dict[str, object]:
    """What templates can say about one stack."""
    references = {image.role: image for image in stack_images(stack)}

    def image_reference(role: str) -> str:
        return references[role].reference_in_stack

    return {
        "stack": stack,
        "vlm": stack.vlm,
        "vlm_weights": stack.model.weight_set(stack.backend.weights_role),
        "layout_weights": stack.model.weight_set(WeightsRole.LAYOUT),
        "vlm_configuration": stack.backend.configuration,
        "image_reference": image_reference,
        "shared_reference": lambda name: shared_image(name).reference_in_stack,
        "filled": _filled,
        "host_variables": _host_variables(stack),
        **_upstream_names(stack),
    }


def _upstream_names(stack: Stack) -> dict[str, object]:
    """What templates can say about upstream's images of one stack."""
    refusal = upstream.reason_against(stack)
    images = {} if refusal else upstream.images(stack)
    prefixes = {_split_prefix(image.image)[0] for image in images.values()}

    def reference(image: UpstreamImage) -> str:
        prefix, name = _split_prefix(image.image_of(stack.variant))
        return f"${{UPSTREAM_PREFIX:-{prefix}}}{name}"

    return {
        "upstream": images,
        "upstream_refusal": refusal,
        "upstream_prefix": next(iter(prefixes), ""),
        "upstream_reference": reference,
        "upstream_serve": _serve_program(stack),
    }


def _split_prefix(image: str) -> tuple[str, str]:
    """The container registry with its folder, and the image in it."""
    prefix, slash, name = image.rpartition("/")
    return prefix + slash, name


def _programs_for_upstream(stack: Stack, api_files: Iterable[str]) -> Mapping[str, str]:
    """What our images hold and upstream's do not: name in compose/upstream -> file below templates/."""
    name = _serve_program(stack)
    own = f"image/{stack.backend.template}/serve.sh"
    programs = {
        "start.sh": "compose/upstream/start.sh",
        "key.sh": "image/shared/key.sh",
        "health.sh": "image/shared/health.sh",
        name: "compose/upstream/serve.sh" if name == "serve.sh" else own,
    }
    if stack.api is not None:
        programs |= {
            PurePosixPath(file).name: f"image/{file}" for file in api_files if file.startswith("api/")
        }
    if stack.target.accelerator is Accelerator.ASCEND:
        programs["with-cann.sh"] = "image/shared/with-cann.sh"
    return programs


def _serve_program(stack: Stack) -> str:
    """What starts the VLM server in upstream's image: for YAML PaddleX's own server, for lines our script."""
    return "serve.sh" if stack.backend.configuration == "vlm.yaml" else f"serve-{stack.backend.template}.sh"


def _filled(devices: Devices, text: str) -> str:
    """The text with a default in each `${NAME}` of the host, so that a stack starts without its `.env`."""
    for name, variable in devices.variables.items():
        text = text.replace(f"${{{name}}}", f"${{{name}:-{variable.default}}}")
    return text


def _host_variables(stack: Stack) -> Mapping[str, HostVariable]:
    """The variables that say what the host calls the hardware of a stack."""
    variables: dict[str, HostVariable] = {}
    for part in reversed(stack.parts):  # the VLM server's come first
        variables |= part.devices.variables
    return variables
