"""Images of a benchmark: ours, ours without byte code, and a plain build of the same packages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paddock import process
from paddock.building.settings import BuildSettings
from paddock.matrix.images import stack_images
from paddock.matrix.records import Stack
from programs import PADDOCK

HERE = Path(__file__).parent
PREFIX = "paddock-bench/"
BUILD = ("docker", "buildx", "build", "--progress=plain", "--load")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """References of the two images of a stack."""

    api: str
    vlm: str

    @property
    def both(self) -> tuple[str, str]:
        return self.api, self.vlm


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """Uncompressed sizes in bytes; `shared` lies in both images and takes its place once."""

    api: int
    vlm: int
    shared: int

    @property
    def total(self) -> int:
        return self.api + self.vlm - self.shared


def ours(stack: Stack, settings: BuildSettings, say: Say) -> Pair:
    """Our two images, built first where one is missing."""
    found = {image.role: image.reference(prefix=settings.image_prefix) for image in stack_images(stack)}
    pair = Pair(api=found["api"], vlm=found["vlm"])
    if not all(_is_present(reference) for reference in pair.both):
        say(f"building {' and '.join(pair.both)}")
        process.stream([*PADDOCK, "build", stack.name], on_line=say)
    return pair


@contextmanager
def without_byte_code(pair: Pair, say: Say) -> Iterator[Pair]:
    """The same images with every .pyc removed; their names go at the end."""
    made = Pair(api=f"{PREFIX}no-byte-code-api", vlm=f"{PREFIX}no-byte-code-vlm")
    with _removed_at_the_end(made.both):
        for source, tag in zip(pair.both, made.both, strict=True):
            say(f"building {tag}")
            argv = [*BUILD, f"--build-arg=IMAGE={source}", f"--tag={tag}", str(HERE / "upstream")]
            process.stream(argv, on_line=_keep_quiet)
        yield made


@contextmanager
def plain_build(
    stack: Stack, settings: BuildSettings, repository: Path, say: Say
) -> Iterator[tuple[Pair, str]]:
    """The plain build's two images and the base of both; their names go at the end, the build cache stays."""
    made = Pair(api=f"{PREFIX}plain-api", vlm=f"{PREFIX}plain-vllm")
    base = f"{PREFIX}python"
    index = stack.vlm.image.index
    common = [
        f"--build-context=locks={repository / 'images' / stack.target.name}",
        *_network(settings),
        *([f"--build-arg=VENDOR_INDEX={index}"] if index else []),
        str(HERE / "plain"),
    ]
    with _removed_at_the_end((*made.both, base)):
        for target, tag in (("python", base), ("api", made.api), ("vllm", made.vlm)):
            say(f"building {tag}")
            argv = [*BUILD, f"--target={target}", f"--tag={tag}", *common]
            process.stream(argv, on_line=_keep_quiet, environment=_environment(settings))
        yield made, base


def sizes(pair: Pair, base: str) -> Sizes:
    """Sizes as the engine stores them. `base` counts as shared only where its layers begin both images."""
    api, vlm, below = (_inspected(reference) for reference in (*pair.both, base))
    begins_both = all(image.layers[: len(below.layers)] == below.layers for image in (api, vlm))
    return Sizes(api=api.size, vlm=vlm.size, shared=below.size if begins_both else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Image:
    size: int
    layers: Sequence[str]


def _inspected(reference: str) -> _Image:
    (state,) = json.loads(process.capture(["docker", "image", "inspect", reference]).stdout)
    return _Image(size=state["Size"], layers=state["RootFS"]["Layers"])


def _is_present(reference: str) -> bool:
    return process.capture(["docker", "image", "inspect", reference], check=False).status == 0


def _network(settings: BuildSettings) -> list[str]:
    """The options for this machine's network, as `paddock build` gives them."""
    options = [f"--build-context=wheels={settings.wheelhouse}"] if settings.wheelhouse else []
    options += [f"--secret=id=ca-bundle,src={settings.ca_bundle}"] if settings.ca_bundle else []
    options += ["--secret=id=pip-index-url,env=PIP_INDEX_URL"] if settings.pip_index_url else []
    options += ["--secret=id=apt-mirror,env=APT_MIRROR"] if settings.apt_mirror else []
    proxies = {
        "HTTP_PROXY": settings.http_proxy,
        "HTTPS_PROXY": settings.https_proxy,
        "NO_PROXY": settings.no_proxy,
    }
    return options + [f"--build-arg={name}={value}" for name, value in proxies.items() if value]


def _environment(settings: BuildSettings) -> dict[str, str]:
    return {"PIP_INDEX_URL": settings.pip_index_url, "APT_MIRROR": settings.apt_mirror}


@contextmanager
def _removed_at_the_end(tags: Sequence[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.capture(["docker", "image", "rm", "--force", *tags], check=False)


def _keep_quiet(_line: str) -> None:
    """A build's output is shown only when it fails: the error carries its last lines."""
