"""The images that the bundle benchmarks carry: real packages, layered as a VLM server's image is.

Nothing of them is run: what counts is what their files weigh and how they differ. `server` is Debian, weights
(random bfloat16 numbers, which do not compress, as trained ones do not, and as many as PaddleOCR-VL has),
then unpacked wheels of cpu-vllm's lock in the layers that `paddock build` makes: torch with what else
computes; libraries that seldom change; vllm; transformers with the rest. `one` has torch, vllm and
transformers in one layer of over 2 GB, as images have that were not built to be carried; `heavy` has the
weights, too.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import statistics
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

from paddock import process
from paddock.building.bases import MAKE_BASE
from paddock.matrix import locks
from repository import REPOSITORY

Say = Callable[[str], None]

BASE, SUITE = "debian:bookworm-slim", "bookworm"
PREFIX = "paddock-bench-bundle/"
WEIGHTS_MEGABYTES = 1828  # model.safetensors of PaddleOCR-VL: 1.9 GB
DAY = 86400

TORCH, VLLM, NEXT_VLLM = "torch==2.15.0", "vllm==0.32.0", "vllm==0.33.0"
TRANSFORMERS, NEXT_TRANSFORMERS = "transformers==5.22.1", "transformers==5.22.2"
LOCK = REPOSITORY / "templates/locks/cpu-vllm.amd64.txt"
DOCKERFILE = REPOSITORY / "images/cpu/vllm/Dockerfile"  # says which packages lie in which layer


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """References. `server` and `api` hold the same weights; most others rebuild the server or `one`."""

    server: str
    api: str
    heavy: str  # with the same weights as those two
    patched: str  # transformers: a patch release, which is pure Python
    minor: str  # vllm: a minor release
    one: str
    one_patched: str
    one_minor: str
    one_touched: str  # only other times

    @property
    def pair(self) -> tuple[str, str]:
        return self.server, self.api


@contextmanager
def made(folder: Path, say: Say) -> Iterator[Samples]:
    """All sample images in the engine; their names go at the end, wheels and build cache stay."""
    process.stream(["bash", str(MAKE_BASE), BASE, SUITE], on_line=say)  # keeps one that is there
    wheels = _wheels(folder / "wheels", say)
    names = Samples(**{field.name: f"{PREFIX}{field.name}:1" for field in fields(Samples)})
    try:
        _weights(folder / "weights")
        compute, libraries, others = _from_lock()
        lower = [[TORCH, *compute], libraries]
        for field, layers in {
            "server": [*lower, [VLLM], [TRANSFORMERS, *others]],
            "api": [[TRANSFORMERS]],
            "heavy": [[TORCH, VLLM, TRANSFORMERS]],
            "patched": [*lower, [VLLM], [NEXT_TRANSFORMERS, *others]],
            "minor": [*lower, [NEXT_VLLM], [TRANSFORMERS, *others]],
            "one": [[TORCH, VLLM, TRANSFORMERS]],
            "one_patched": [[TORCH, VLLM, NEXT_TRANSFORMERS]],
            "one_minor": [[TORCH, NEXT_VLLM, TRANSFORMERS]],
            "one_touched": [[TORCH, VLLM, TRANSFORMERS]],
        }.items():
            say(f"building {field}: {[len(layer) for layer in layers]} packages")
            wanted = [[wheels[package] for package in layer] for layer in layers]
            later = DAY if field == "one_touched" else 0
            _image(getattr(names, field), wanted, folder, weights=not field.startswith("one"), later=later)
        yield names
    finally:
        process.capture(["docker", "image", "rm", "--force", *astuple(names)], check=False)
        shutil.rmtree(folder / "context", ignore_errors=True)


def raw_size(reference: str) -> int:
    """Uncompressed bytes of an image, as the engine counts them."""
    return int(process.capture(["docker", "image", "inspect", "--format", "{{.Size}}", reference]).stdout)


def layers(reference: str) -> list[str]:
    """Its diff ids."""
    argv = ["docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", reference]
    return [str(layer) for layer in json.loads(process.capture(argv).stdout)]


def _from_lock() -> tuple[list[str], list[str], list[str]]:
    """What else a VLM server's image holds, from the lock of one: `compute`, `libraries`, `packages`."""
    own = ("torch", "vllm", "transformers")
    held = (package for package in locks.read(LOCK) if not package.name.startswith(own))
    named = [f"{package.name}=={package.version}" for package in held]
    found = re.search(r'"compute=([^"]+)" "libraries=([^"]+)"', DOCKERFILE.read_text("utf-8"))
    assert found, f"{DOCKERFILE}: does not say what its layers are"
    compute, libraries = (_matching(named, patterns.split(",")) for patterns in found.groups())
    return compute, libraries, [line for line in named if line not in (*compute, *libraries)]


def _matching(lines: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """The lines of a lock whose package has a name of one of these patterns."""
    return [line for line in lines if any(fnmatch(line.partition("==")[0], pattern) for pattern in patterns)]


def _wheels(folder: Path, say: Say) -> Mapping[str, Path]:
    """One wheel for each package, from PyPI, kept for the next run."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for requirement in (TORCH, VLLM, NEXT_VLLM, TRANSFORMERS, NEXT_TRANSFORMERS, *chain(*_from_lock())):
        name, _, version = requirement.partition("==")
        pattern = f"{name.replace('-', '[-_]')}-{version}-*.whl"
        if not list(folder.glob(pattern)):
            say(f"downloading {requirement}")
            argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            # a machine's own constraints say what its environments may have, and nothing is installed here
            process.capture(
                [*argv, "--dest", str(folder), requirement],
                environment={"PIP_CONSTRAINT": os.devnull},
                timeout=1800,
            )
        found[requirement] = next(folder.glob(pattern))
    return found


def _weights(folder: Path) -> None:
    """Numbers of a normal distribution as bfloat16, seeded; written once."""
    path = folder / "model.safetensors"
    if path.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    numbers = random.Random(20261121)
    normal = statistics.NormalDist(0, 0.02)
    # sign and upper seven bits of the exponent follow the distribution; the lower byte is as good as random
    upper = bytes(struct.pack(">f", normal.inv_cdf((step + 0.5) / 256))[0] for step in range(256))
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        for _ in range(WEIGHTS_MEGABYTES):
            both = bytearray(1 << 20)
            both[0::2] = numbers.randbytes(1 << 19)
            both[1::2] = numbers.randbytes(1 << 19).translate(upper)
            file.write(both)
    partial.replace(path)


def _image(
    reference: str, layers: Sequence[Sequence[Path]], folder: Path, *, weights: bool, later: int
) -> None:
    context = folder / "context"
    shutil.rmtree(context, ignore_errors=True)
    lines = [f"FROM {BASE}"]
    if weights:
        (context / "weights").mkdir(parents=True)
        os.link(folder / "weights" / "model.safetensors", context / "weights" / "model.safetensors")
        _set_times(context / "weights", 1_750_000_000)
        lines.append("COPY --link weights /models")
    for number, wheels in enumerate(layers):
        site = context / str(number) / "opt/venv/lib/python3.11/site-packages"
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
        _set_times(context / str(number), 1_750_000_000 + later)
        lines.append(f"COPY --link {number}/ /")
    (context / "Dockerfile").write_text("\n".join(lines) + "\n", "ascii")
    argv = ["docker", "buildx", "build", "--quiet", "--provenance=false", "--load", f"--tag={reference}"]
    # to the build cache a file with another time is the same file
    process.capture([*argv, *(["--no-cache"] if later else []), str(context)], timeout=1800)


def _set_times(folder: Path, moment: int) -> None:
    """Every file gets a time within one minute, as an installer leaves them."""
    for number, path in enumerate(sorted(folder.rglob("*"))):
        os.utime(path, (moment + number % 60, moment + number % 60), follow_symlinks=False)
    os.utime(folder, (moment, moment))
