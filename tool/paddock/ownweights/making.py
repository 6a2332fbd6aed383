"""Writing sets of our own into a models directory.

Layout networks are Paddle programs, so they are made in a container of the pipeline API's image, into which
only the program and what it imports of ours are mounted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from paddock import engine
from paddock.errors import PreflightError, refusal
from paddock.matrix.records import WeightSet
from paddock.process import stream
from paddock.report import Reporter
from paddock.weights import installing
from paddock.weights.installing import Outcome
from paddock.weights.lockfile import Kind

PACKAGES = Path(__file__).parents[2]  # where Python finds `paddock`
LAYOUT_FILES = Path(__file__).with_name("layoutfiles.py")  # the only file of ours that such a program imports


def layout_command(image: str, name: str, tree: Path, *, user: str, program: Path) -> tuple[str, ...]:
    """Return the command that makes the layout model `name` in the empty directory `tree`.

    It runs as `user` (uid:gid), without a network, and sees only `program`, LAYOUT_FILES and `tree`.
    """
    return (
        *("docker", "run", "--rm", "--init", "--pull", "never", "--no-healthcheck"),
        *("--network", "none", "--read-only", "--tmpfs", "/tmp", "--env", "HOME=/tmp"),  # noqa: S108 - in the container
        *("--user", user, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *(option for file in (program, LAYOUT_FILES) for option in ("--mount", _mounted(file))),
        *("--mount", f"type=bind,source={tree.resolve()},target=/out"),
        *("--workdir", "/program", "--entrypoint", "python", image),
        *("-m", ".".join(_in_package(program).with_suffix("").parts), "--model", name, "--out", "/out"),
    )


def _mounted(file: Path) -> str:
    """Return the mount that puts a file of this package where Python finds it from /program."""
    return f"type=bind,source={file},target=/program/{_in_package(file)},readonly"


def _in_package(file: Path) -> Path:
    return file.relative_to(PACKAGES)


def make_sets(
    chosen: Sequence[WeightSet],
    make: Callable[[WeightSet, Path], None],
    *,
    models_dir: Path,
    kind: Kind,
    doing: str,
    report: Reporter,
) -> tuple[Outcome, ...]:
    """Let `make` write each set into an empty directory; none is published before all are made.

    `doing` is what the reporter says of each. Raises PreflightError where `models_dir` cannot be made.
    """
    _make_directory(models_dir)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=models_dir) as staging:
        trees = {weight_set.name: Path(staging) / weight_set.name for weight_set in chosen}
        for weight_set in chosen:
            report.say(f"{weight_set.name}: {doing}")
            trees[weight_set.name].mkdir()
            make(weight_set, trees[weight_set.name])
        return tuple(
            installing.publish(
                trees[weight_set.name], weight_set, models_dir=models_dir, kind=kind, report=report
            )
            for weight_set in chosen
        )


def _make_directory(models_dir: Path) -> None:
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        raise refusal(refused, models_dir) from refused


def make_layout(name: str, tree: Path, image: str, *, program: Path) -> None:
    """Let `program` write the layout model `name` into `tree`. Raises PreflightError without the image."""
    _require_image(image)
    stream(
        layout_command(image, name, tree, user=f"{os.getuid()}:{os.getgid()}", program=program),
        on_line=lambda _: None,  # Paddle's warnings; a failure shows the last of them
    )


def _require_image(image: str) -> None:
    with closing(engine.connect()) as client:
        if not engine.has_image(client, image):
            raise PreflightError(
                f"{image}: found no such image, "
                "expected the pipeline API image in which layout models are made",
                hint="build the images first, for example `paddock build cpu`",
            )


def write(tree: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of one set."""
    for name, content in files.items():
        (tree / name).write_bytes(content)
