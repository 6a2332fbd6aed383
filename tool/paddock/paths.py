"""Where the tool finds its templates and the folder that it works in."""

from __future__ import annotations

import os
from pathlib import Path

from paddock.errors import ConfigurationError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]  # <checkout>/tool/paddock


def templates() -> Path:
    """The templates: inside the package of an installed wheel, at the top of a checkout otherwise."""
    for folder in (_PACKAGE / "templates", _CHECKOUT / "templates"):
        if (folder / "targets").is_dir():
            return folder
    raise ConfigurationError(
        f"{_PACKAGE}: found no templates beside the package or at {_CHECKOUT / 'templates'}",
        hint="install paddock again, or run it from a full checkout",
    )


def workspace() -> Path:
    """The folder that holds `images/` and `compose/`.

    PADDOCK_ROOT decides if it is set. Otherwise it is the nearest folder from the current one upwards that holds both,
    then the checkout that the tool runs from, then the current folder.
    """
    chosen = os.environ.get("PADDOCK_ROOT")
    if chosen:
        return _chosen(Path(chosen).expanduser())
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "images").is_dir() and (folder / "compose").is_dir():
            return folder
    return _CHECKOUT if _is_checkout(_CHECKOUT) else here


def _chosen(root: Path) -> Path:
    if not root.is_dir():
        raise ConfigurationError(
            f"PADDOCK_ROOT: found {root}, expected a folder that exists", hint="create it, or unset PADDOCK_ROOT"
        )
    return root.resolve()


def _is_checkout(root: Path) -> bool:
    return (root / "pyproject.toml").is_file() and (root / "templates" / "targets").is_dir()


def scripts() -> Path:
    """The scripts that the tool runs: inside the package of an installed wheel, at the top of a checkout otherwise."""
    for folder in (_PACKAGE / "scripts", _CHECKOUT / "scripts"):
        if (folder / "make-base.sh").is_file():
            return folder
    raise ConfigurationError(f"{_PACKAGE}: found no scripts beside the package", hint="install paddock again")
