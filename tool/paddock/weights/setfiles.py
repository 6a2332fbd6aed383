"""The files of one weight set on disk: which there must be, what they are, and how they are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import yaml

from paddock import durable
from paddock.errors import PreflightError, WeightsError, refusal, step_after
from paddock.jsonvalues import MalformedError, field, typed
from paddock.matrix.records import WeightSet, WeightsRole
from paddock.report import Advance, Reporter
from paddock.weights.diskspace import require_room
from paddock.weights.filenames import hidden
from paddock.weights.lockfile import LockedFile
from paddock.weights.published import sha256_of

EPOCH = 315532800  # 1980-01-01T00:00:00Z: the same everywhere, and old enough for every archive format
_TIMES = 2**30  # seconds after it, which end in 2014
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755

POINTER = b"version https://git-lfs"  # how a file begins that git-lfs has not fetched
LARGEST_YAML = 256 * 1024  # bytes; upstream's have 43 to 2,000
LARGEST_INDEX = 16 * 1024 * 1024  # bytes
BLOCK = 1024 * 1024  # bytes

_PADDLE = (("inference.yml",), ("inference.json", "*.pdmodel"), ("*.pdiparams",))
# Of each inner tuple one must be there.
REQUIRED: dict[WeightsRole, tuple[tuple[str, ...], ...]] = {
    WeightsRole.VLM: (("config.json",), ("*.safetensors",), ("tokenizer.json", "tokenizer.model")),
    WeightsRole.GGUF: (("*.gguf",), ("*mmproj*.gguf",)),
    WeightsRole.LAYOUT: _PADDLE,
    WeightsRole.ORIENTATION: _PADDLE,
    WeightsRole.UNWARPING: _PADDLE,
}


def lacking(directory: Path, weights: WeightSet) -> tuple[str, ...]:
    """Return what keeps a directory from being that set, in words; nothing when it is complete."""
    names = sorted(path.name for path in directory.iterdir() if path.is_file())

    def present(patterns: tuple[str, ...]) -> bool:
        return any(_matches(name, pattern, weights.role) for name in names for pattern in patterns)

    required = REQUIRED[weights.role]
    absent = tuple(f"no {' or '.join(patterns)}" for patterns in required if not present(patterns))
    return (*absent, *_pointers(directory, names), *_shards(directory), *_other_model(directory, weights))


def require(directory: Path, weights: WeightSet) -> None:
    """Raise WeightsError that says what keeps `directory` from being that set."""
    if missing := lacking(directory, weights):
        raise WeightsError(
            f"{directory}: found {', '.join(missing)}; expected the files of {weights.name} ({weights.role})",
            hint="fetch or copy the whole directory, with its large files",
        )


def locate(directory: Path, weights: WeightSet) -> Path:
    """Return the directory that holds the set's files: the given one, or one inside as upstream packs it.

    `<name>_infer` is how upstream's tars begin; `<name>-0.9B` is where the first version kept its model.
    Raises WeightsError that says what is lacking.
    """
    places = list(_places(directory, weights, depth=2))
    for place in places[:-1]:
        if not lacking(place, weights):
            return place
    require(places[-1], weights)
    return places[-1]


def files_of(directory: Path) -> dict[str, Path]:
    """Return every file below `directory` by its relative path.

    Raises WeightsError for links and special files.
    """
    files: dict[str, Path] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise _not_a_file(path)
        if path.is_file():
            files[path.relative_to(directory).as_posix()] = path
    return files


def measure(directory: Path, *, label: str, report: Reporter) -> dict[str, LockedFile]:
    """Return size and SHA-256 of every file."""
    files = {path: (file, file.stat().st_size) for path, file in files_of(directory).items()}
    measured: dict[str, LockedFile] = {}
    with report.progress(label, total=sum(size for _, size in files.values()), unit="bytes") as advance:
        for path, (file, size) in files.items():
            measured[path] = LockedFile(size=size, sha256=sha256_of(file))
            advance(size)
    return measured


def prune(directory: Path, keep: Collection[str]) -> None:
    """Remove every file that is not in `keep` (relative paths), and directories that are then empty."""
    for path, file in files_of(directory).items():
        if path not in keep:
            file.unlink()
    for root, _, _ in os.walk(directory, topdown=False):
        if root != str(directory) and not any(Path(root).iterdir()):
            Path(root).rmdir()


def normalise(directory: Path, files: Mapping[str, LockedFile]) -> None:
    """Give files and directories the same modes and times everywhere, and flush them.

    `files` is what was measured. A file's time follows from its content: BuildKit takes a file of a build
    context for one that it has when path, size and time are the same, whatever directory the context is. With
    one time for all, an offline image of PaddleOCR-VL 1.6 would hold the weights of 1.5, which are as large.
    """
    for path, file in files.items():
        _settle(directory / path, FILE_MODE, EPOCH + int(file.sha256[:8], 16) % _TIMES)
    for root, _, _ in os.walk(directory, topdown=False):
        _settle(Path(root), DIRECTORY_MODE, EPOCH)


def copy_tree(source: Path, to: Path, *, label: str, report: Reporter) -> None:
    """Copy a set that somebody carried here, without hidden files; links to files become files.

    Raises WeightsError for anything but files and directories, PreflightError when the disk is too small.
    """
    files = dict(_visible_files(source))
    total = sum(file.stat().st_size for file in files.values())
    to.mkdir(parents=True)
    require_room(to, total, label)
    with report.progress(label, total=total, unit="bytes") as advance:
        for path, file in files.items():
            _copy_file(file, to / path, advance)


def _copy_file(source: Path, to: Path, advance: Advance) -> None:
    try:
        content = source.open("rb")
    except OSError as refused:
        raise refusal(refused, source, raising=WeightsError) from refused
    with content, durable.writing(to, raising=PreflightError):
        to.parent.mkdir(parents=True, exist_ok=True)
        with to.open("xb") as out:
            while block := _block(content, source):
                out.write(block)
                advance(len(block))


def _block(content: BinaryIO, source: Path) -> bytes:
    try:
        return content.read(BLOCK)
    except OSError as failed:  # a medium with bad sectors
        raise WeightsError(
            f"{source}: cannot be read ({failed.strerror}), expected a whole file",
            hint=step_after(failed, source),
        ) from failed


def _matches(name: str, pattern: str, role: WeightsRole) -> bool:
    if role is WeightsRole.GGUF and "mmproj" not in pattern and "mmproj" in name.lower():
        return False  # the projector is not the model
    return fnmatch(name.lower(), pattern)


def _pointers(directory: Path, names: list[str]) -> tuple[str, ...]:
    large = [name for name in names if name.endswith((".safetensors", ".gguf")) or ".pd" in name]
    pointers = [name for name in large if _starts_with(directory / name, POINTER)]
    return tuple(f"only a git-lfs pointer in {name}" for name in pointers)


def _starts_with(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as content:
        return content.read(len(beginning)) == beginning


def _shards(directory: Path) -> tuple[str, ...]:
    """Return the parts of the weights that their index names and that are not there."""
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return ()
    try:
        found = json.loads(_beginning(index, LARGEST_INDEX))
        places = field(typed(found, dict, index.name), "weight_map", dict)
        shards = {typed(shard, str, "weight_map") for shard in places.values()}
    except (ValueError, MalformedError, RecursionError):
        return (f"an unreadable {index.name}",)
    return tuple(f"no {shard}" for shard in sorted(shards) if not (directory / shard).is_file())


def _other_model(directory: Path, weights: WeightSet) -> tuple[str, ...]:
    """Paddle's inference.yml says which model it belongs to; that of a made set has the name of another."""
    path = directory / "inference.yml"
    if weights.made or weights.role in {WeightsRole.VLM, WeightsRole.GGUF} or not path.is_file():
        return ()
    try:
        found = yaml.load(_beginning(path, LARGEST_YAML), _PlainLoader)["Global"]["model_name"]  # noqa: S506
    except (ValueError, yaml.YAMLError, RecursionError):
        return ("an unreadable inference.yml",)
    except (KeyError, TypeError):
        return ()
    if not isinstance(found, str):
        return ("an inference.yml without the name of a model",)
    return () if found == weights.name else (f"an inference.yml of {found}",)


class _PlainLoader(yaml.SafeLoader):
    """Plain data. No aliases, as each may stand for many others: upstream's files have none."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("found an alias, expected plain data")
        return super().compose_node(parent, index)


def _beginning(path: Path, most: int) -> bytes:
    """The whole file, as long as it has at most that many bytes. Raises ValueError for a larger one."""
    with path.open("rb") as content:
        found = content.read(most + 1)
    if len(found) > most:
        raise ValueError(f"more than {most:,} bytes")
    return found


def _places(directory: Path, weights: WeightSet, *, depth: int) -> Iterator[Path]:
    yield directory
    for name in (weights.name, f"{weights.name}_infer", f"{weights.name}-0.9B"):
        if depth and (directory / name).is_dir():
            yield from _places(directory / name, weights, depth=depth - 1)


def _visible_files(source: Path) -> Iterator[tuple[str, Path]]:
    for root, directories, names in os.walk(source):
        for name in sorted([*directories, *names]):
            path = Path(root) / name
            relative = PurePosixPath(path.relative_to(source).as_posix())
            if hidden(relative):
                continue
            if path.is_file():
                yield str(relative), path
            elif path.is_symlink() or not path.is_dir():
                raise _not_a_file(path)


def _not_a_file(path: Path) -> WeightsError:
    return WeightsError(f"{path}: found a link or special file, expected files and directories only")


def _settle(path: Path, mode: int, time: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
        os.utime(descriptor, (time, time))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
