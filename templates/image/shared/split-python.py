"""Moves /opt/venv into folders that become one layer each: split-python.py LAYER=PATTERN,... ...

    split-python.py compute=torch*,nvidia-* server=vllm*

A distribution goes to the first LAYER with a pattern of its name, everything else to "packages": to
/layers/LAYER/opt/venv. All times become the same, so that a layer whose packages stayed has the same bytes in every
build: nobody has to store, carry or unpack it again.
"""

import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import Distribution, distributions
from importlib.util import cache_from_source
from pathlib import Path

VENV, LAYERS = Path("/opt/venv"), Path("/layers")
REST = "packages"
MOMENT = 315532800  # seconds: 1980-01-01, as the layers of weights have it


def main(rules: Sequence[str]) -> None:
    """Fill /layers, and leave no /opt/venv."""
    patterns = {layer: names.split(",") for layer, _, names in (rule.partition("=") for rule in rules)}
    for layer in (*patterns, REST):
        (LAYERS / layer / "opt").mkdir(parents=True)
    installed = distributions(path=[sysconfig.get_path("purelib")])
    for found in sorted(installed, key=lambda package: package.name):
        name = found.name.lower().replace("_", "-")
        layer = next(
            (layer for layer, wanted in patterns.items() if any(fnmatchcase(name, pattern) for pattern in wanted)), REST
        )
        for path in files(found) if layer != REST else ():
            os.renames(path, LAYERS / layer / path.relative_to("/"))
    VENV.rename(LAYERS / REST / VENV.relative_to("/"))
    for folder, folders, names in os.walk(LAYERS):
        for name in (*folders, *names):
            os.utime(Path(folder, name), (MOMENT, MOMENT), follow_symlinks=False)


def files(found: Distribution) -> Iterator[Path]:
    """What a distribution has in the environment, with its byte code; two may share a file."""
    for file in found.files or ():
        path = Path(os.path.normpath(found.locate_file(file)))
        compiled = [Path(cache_from_source(str(path)))] if path.suffix == ".py" else []
        yield from (path for path in (path, *compiled) if os.path.lexists(path) and path.is_relative_to(VENV))


if __name__ == "__main__":
    main(sys.argv[1:])
