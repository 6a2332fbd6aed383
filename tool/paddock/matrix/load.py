"""Reading the data below `templates/`: targets, backends and models into a registry, and what images hold.

Files whose name starts with `_` are parents for `extends` only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from paddock.errors import ConfigurationError
from paddock.matrix import strictyaml
from paddock.matrix.fieldtypes import FrozenDict
from paddock.matrix.images import TOOL, Site
from paddock.matrix.records import ApiImages, Backend, Model, Target, Tool
from paddock.matrix.references import Check
from paddock.matrix.registry import Files, Record, Registry
from paddock.matrix.strictyaml import Loaded
from paddock.matrix.yamltree import Place

_STEM = re.compile(r"_?[a-z0-9]+([.-][a-z0-9]+)*")


def load_registry(templates: Path) -> Registry:
    """Read and check all data below `templates`.

    Raises DataError or ConfigurationError at the first thing that is wrong.
    """
    targets = _read_folder(templates / "targets", Target)
    backends = _read_folder(templates / "backends", Backend)
    models = _read_folder(templates / "models", Model)
    registry = Registry(targets=_records(targets), backends=_records(backends), models=_records(models))
    Check(registry=registry, targets=targets, backends=backends, models=models).run()
    return registry


def load_tool(templates: Path) -> Tool:
    """What the tool's own image is made of. Raises DataError."""
    return strictyaml.read(templates / "tool.yaml", Tool).record


def load_site(templates: Path) -> Site:
    """What a site adds to a stack. Raises DataError."""
    return strictyaml.read(templates / "site.yaml", Site).record


def load_shared_images(templates: Path) -> Mapping[str, Tool]:
    """The images that all targets share, by name: the tool's and those of a site. Raises DataError."""
    return FrozenDict({TOOL.name: load_tool(templates), **load_site(templates).images})


def load_api_images(templates: Path) -> ApiImages:
    """What the pipeline API's images are made of on every target. Raises DataError."""
    return strictyaml.read(templates / "api.yaml", ApiImages).record


def _records(files: Files[Record]) -> Mapping[str, Record]:
    return FrozenDict({name: loaded.record for name, loaded in files.items()})


def _read_folder(folder: Path, record: type[Record]) -> dict[str, Loaded[Record]]:
    _refuse_file_names(folder)
    paths = sorted(folder.glob("*.yaml"), key=lambda path: path.stem)
    files = {
        path.stem: strictyaml.read(path, record, given={"name": path.stem})
        for path in paths
        if not path.stem.startswith("_")
    }
    if not files:
        raise ConfigurationError(f"{folder}: found no data, expected at least one YAML file")
    extended = {stem for loaded in files.values() for stem in loaded.parents}
    for path in paths:
        if path.stem.startswith("_") and path.stem not in extended:
            raise Place(path=path).error(
                "found a parent file that nothing extends, expected a child or no file"
            )
    return files


def _refuse_file_names(folder: Path) -> None:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix != ".yaml" or not _STEM.fullmatch(path.stem):
            raise Place(path=path).error(
                f'found the file name "{path.name}", '
                "expected small letters, digits, dots and dashes, ending in .yaml"
            )
