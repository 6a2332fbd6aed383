"""Where the tool finds its templates, the folder that it works in, and what lies elsewhere on its host."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from paddock.errors import ConfigurationError, PreflightError, quoted

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]  # <checkout>/tool/paddock
_MOST_LINKS = 40  # symbolic links in one path, as in Linux


def templates() -> Path:
    """The templates: inside the package of an installed wheel, at the top of a checkout otherwise."""
    for folder in (_PACKAGE / "templates", _CHECKOUT / "templates"):
        if (folder / "targets").is_dir():
            return folder
    raise ConfigurationError(
        f"{_PACKAGE}: found no templates beside the package or at {_CHECKOUT / 'templates'}",
        hint="install paddock again, or run it from a full checkout",
    )


def documents() -> Path | None:
    """The documents of the checkout that the tool runs from; None where it is an installed package."""
    return _CHECKOUT / "docs" if _is_checkout(_CHECKOUT) else None


def workspace() -> Path:
    """The folder that holds `images/` and `compose/`.

    PADDOCK_ROOT decides if it is set. Otherwise it is the nearest folder from the current one upwards that
    holds both, then the checkout that the tool runs from, then the current folder.
    """
    chosen = os.environ.get("PADDOCK_ROOT")
    if chosen:
        return _chosen(expanded(chosen))
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "images").is_dir() and (folder / "compose").is_dir():
            return folder
    return _CHECKOUT if _is_checkout(_CHECKOUT) else here


def checkout() -> Path:
    """The checkout that the tool runs from: what its own image is built of."""
    if _is_checkout(_CHECKOUT):
        return _CHECKOUT
    raise ConfigurationError(
        f"{_PACKAGE}: found an installed package, expected a checkout: the image of the tool is built of one",
        hint="run paddock from a checkout, or take the published image of the tool (docs/guides/building.md)",
    )


def expanded(path: str) -> Path:
    """The path with `~` replaced by this user's home.

    Raises PreflightError for a user of whom neither HOME nor the host says where that is.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise PreflightError(
            f"{path}: found no home of the user {os.getuid()}, expected HOME to name a folder",
            hint='`export HOME="$PWD"` takes the current folder, for this shell',
        ) from None


def _chosen(root: Path) -> Path:
    if not root.is_dir():
        raise ConfigurationError(
            f"PADDOCK_ROOT: found {root}, expected a folder that exists",
            hint=f"create it (`mkdir -p {quoted(root)}`), or `unset PADDOCK_ROOT`",
        )
    return root.resolve()


def _is_checkout(root: Path) -> bool:
    return (root / "pyproject.toml").is_file() and (root / "templates" / "targets").is_dir()


def on_host(path: Path) -> Path:
    """Where this process sees an absolute path of the host: below PADDOCK_HOST in the tool's container.

    Symbolic links are followed on the host's side, too: a link to /data there does not lead to the
    container's own /data.
    """
    root = os.environ.get("PADDOCK_HOST")
    return _below(Path(root), path) if root else path


def _below(root: Path, path: Path) -> Path:
    """The path with its links resolved as if `root` were the root of the file system."""
    place, rest, links = root, deque(path.parts[1:]), 0
    while rest:
        part = rest.popleft()
        if part == "..":
            place = place.parent if place != root else root
        elif links < _MOST_LINKS and _is_link(place / part):
            target = (place / part).readlink()
            links += 1
            if target.is_absolute():
                place = root
            rest.extendleft(reversed(target.parts[1:] if target.is_absolute() else target.parts))
        else:
            place /= part
    return place


def _is_link(path: Path) -> bool:
    return os.path.islink(path)  # noqa: PTH114 - Path.is_symlink raises where this user may not look
