"""Writing sets of our own into a models directory; layout networks are made inside the pipeline API's image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from paddock import engine
from paddock.engine import docker
from paddock.errors import PreflightError
from paddock.process import stream

PACKAGES = Path(__file__).parents[2]  # where Python finds `paddock`
LAYOUT_FILES = Path(__file__).with_name("layoutfiles.py")  # the only file of ours that such a program imports


def layout_command(image: str, name: str, tree: Path, *, user: str, program: Path) -> tuple[str, ...]:
    """The command that makes the layout model `name` in the empty directory `tree`, as `user` (uid:gid)."""
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
    """A file of this package where Python finds it by its name from /program."""
    return f"type=bind,source={file},target=/program/{_in_package(file)},readonly"


def _in_package(file: Path) -> Path:
    return file.relative_to(PACKAGES)


def make_directory(models_dir: Path) -> None:
    """Have a models directory. Raises PreflightError where none can be made."""
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        raise PreflightError(
            f"{models_dir}: cannot be made ({refused.strerror}), expected a directory"
        ) from refused


def make_layout(name: str, tree: Path, image: str, *, program: Path) -> None:
    """Let `program` write the layout model `name` into `tree`. Raises PreflightError where the image is not
    there.
    """
    _require_image(image)
    stream(
        layout_command(image, name, tree, user=f"{os.getuid()}:{os.getgid()}", program=program),
        on_line=lambda _: None,  # Paddle's warnings; a failure shows the last of them
    )


def _require_image(image: str) -> None:
    with closing(engine.connect()) as client:
        try:
            client.images.get(image)
        except docker.errors.ImageNotFound as absent:
            raise PreflightError(
                f"{image}: no such image here, expected the pipeline API image in which the layout model is made",
                hint="build the images first: paddock build TARGET",
            ) from absent


def write(tree: Path, files: Mapping[str, bytes]) -> None:
    """The files of one set."""
    for name, content in files.items():
        (tree / name).write_bytes(content)
