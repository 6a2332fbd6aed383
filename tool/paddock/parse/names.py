"""Names of results: none equals another or lies inside of one, also where a disk tells fewer names apart."""

from __future__ import annotations

import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

_Parts = tuple[str, ...]


def distinct(paths: Sequence[Path], names: Sequence[Path]) -> list[Path]:
    """Return names for the files `paths`, which are absolute: those given, or longer ones where they clash.

    A name that clashes gets as much of its file's path in front as makes it distinct. Names that differ only
    in case or in the form of their characters clash, too, so that results can be carried to any disk; those
    of files of which that is true up to the root stay as they are.
    """
    wholes = [path.parts[1:] for path in paths]
    folded = [_folded(parts) for parts in wholes]
    times = Counter(folded)
    told = [fold if times[fold] == 1 else whole for fold, whole in zip(folded, wholes, strict=True)]
    depths = [len(name.parts) for name in names]
    while growing := [
        index
        for index in _clashing([parts[-depth:] for parts, depth in zip(told, depths, strict=True)])
        if depths[index] < len(wholes[index])
    ]:
        for index in growing:
            depths[index] += 1
    return [Path(*whole[-depth:]) for whole, depth in zip(wholes, depths, strict=True)]


def takes(path: Path) -> bool:
    """Make an empty file; whether its name, and those of the folders above it, were free. Raises OSError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
    except (FileExistsError, NotADirectoryError):
        return False
    return True


def taken(names: Sequence[Path], output: Path, *, takes: Callable[[Path], bool] = takes) -> set[int]:
    """Return the indexes of names that the disk of the folder `output` takes for an earlier one.

    Only names that could be one are tried there, in a folder that goes away again. Raises OSError.
    """
    candidates = sorted(_clashing([_folded(name.parts) for name in names]))
    if not candidates:
        return set()
    with tempfile.TemporaryDirectory(prefix=".names-", dir=output) as trial:
        return {index for index in candidates if not takes(Path(trial) / names[index])}


def alike(one: str, other: str) -> bool:
    """Whether some disks take two names for one."""
    return _folded((one,)) == _folded((other,))


def _folded(parts: Sequence[str]) -> _Parts:
    """The parts of a path as the least careful file systems compare them."""
    return tuple(
        unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", part).casefold()).rstrip(". ")
        for part in parts
    )


def _clashing(names: Sequence[_Parts]) -> set[int]:
    """Return the indexes of names that occur twice, or of which one lies inside the other."""
    holders: dict[_Parts, list[int]] = {}
    for index, name in enumerate(names):
        holders.setdefault(name, []).append(index)
    clashing = {index for indexes in holders.values() if len(indexes) > 1 for index in indexes}
    for index, name in enumerate(names):
        for length in range(1, len(name)):
            if outer := holders.get(name[:length]):
                clashing.update((index, *outer))
    return clashing
