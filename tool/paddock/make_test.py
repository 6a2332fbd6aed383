"""Making small test weights for a model: the language model here, the layout model inside the pipeline API image.

The language model is written by `paddock.testweights` and needs nothing; the layout model is a Paddle network, so
`testweights/layout.py` runs in a container that has paddlepaddle. Nothing appears before every set has been made.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from docker.errors import ImageNotFound

from paddock import engine, weights
from paddock.errors import ConfigurationError, PreflightError, UsageError, WeightsError
from paddock.matrix import Model, WeightSet, WeightsRole
from paddock.process import stream
from paddock.report import Reporter
from paddock.testweights import vlm
from paddock.testweights.gguf import gguf_files
from paddock.testweights.marker import MARKER, marker_text
from paddock.weights import Kind, Outcome

MAKEABLE = (WeightsRole.VLM, WeightsRole.GGUF, WeightsRole.LAYOUT)
LAYOUT_MODELS = ("PP-DocLayoutV2", "PP-DocLayoutV3")
PACKAGE = Path(__file__).parent
LAYOUT_PROGRAM = PACKAGE / "testweights/layout.py"
LAYOUT_FILES = PACKAGE / "layoutfiles.py"  # the only file of ours that such a program imports
LAYOUT_MARKER = "This layout model finds the same six regions on every page, wherever its text and pictures are."


def make_test(
    model: Model,
    *,
    models_dir: Path,
    api_image: str,
    report: Reporter,
    roles: Collection[WeightsRole] = (),
    text: str = vlm.DEFAULT_TEXT,
) -> tuple[Outcome, ...]:
    """Make test weights for the sets of `model` (those with one of `roles`, or all) and record them as such.

    `api_image` is the pipeline API image in which the layout model is made; `text` is what the language model answers.
    Test weights that are there are made anew. Raises WeightsError where other weights are there, UsageError for a text
    that does not do, ConfigurationError for a model without test weights, PreflightError when the image is not there.
    """
    chosen = _chosen(model, roles, report)
    _require_replaceable(models_dir, chosen)
    make_directory(models_dir)
    with tempfile.TemporaryDirectory(prefix=".make-test-", dir=models_dir) as staging:
        trees = {each.name: Path(staging) / each.name for each in chosen}
        for each in chosen:
            report.say(f"{each.name}: making test weights")
            trees[each.name].mkdir()
            _make(each, model.served_name, trees[each.name], api_image, text)
        made = tuple(
            weights.publish(trees[each.name], each, models_dir=models_dir, kind=Kind.TEST, report=report)
            for each in chosen
        )
    report.warn(f"test weights read nothing: every region of every page becomes {text!r}")
    return made


def layout_command(image: str, name: str, tree: Path, *, user: str, program: Path = LAYOUT_PROGRAM) -> tuple[str, ...]:
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
    return file.relative_to(PACKAGE.parent)


def _chosen(model: Model, roles: Collection[WeightsRole], report: Reporter) -> tuple[WeightSet, ...]:
    wanted = [each for each in model.weights if not roles or each.role in roles]
    for each in wanted:
        if each.role not in MAKEABLE:
            report.say(f"{each.name}: there are no test weights of this kind, and stacks start without it")
    chosen = tuple(each for each in wanted if each.role in MAKEABLE)
    unknown = [each.name for each in chosen if each.role is WeightsRole.LAYOUT and each.name not in LAYOUT_MODELS]
    if not chosen or unknown or model.served_name not in vlm.REPLY_STARTS:
        known = ", ".join(vlm.REPLY_STARTS)
        what = ", ".join(unknown) or model.served_name
        raise ConfigurationError(f"{model.name}: no test weights for {what}, expected one of {known} and its sets")
    return chosen


def _require_replaceable(models_dir: Path, chosen: Sequence[WeightSet]) -> None:
    others = [each.name for each in chosen if not _replaceable(models_dir, each.name)]
    if others:
        raise WeightsError(
            f"{models_dir}: found weights that are not test weights ({', '.join(others)}), expected none there",
            hint="leave them and use another directory (--to DIR), or remove them first",
        )


def _replaceable(models_dir: Path, name: str) -> bool:
    kind = weights.kind_of(models_dir, name)
    if kind is None:
        return not (models_dir / name).exists() or (models_dir / name / MARKER).is_file()
    return kind is Kind.TEST


def make_directory(models_dir: Path) -> None:
    """Have a models directory. Raises PreflightError where none can be made."""
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        raise PreflightError(f"{models_dir}: cannot be made ({refused.strerror}), expected a directory") from refused


def _make(each: WeightSet, served_name: str, tree: Path, api_image: str, text: str) -> None:
    try:
        match each.role:
            case WeightsRole.VLM:
                write(tree, vlm.hub_files(name=each.name, served_name=served_name, text=text))
            case WeightsRole.GGUF:
                write(tree, gguf_files(name=each.name, served_name=served_name, text=text))
            case _:
                make_layout(each.name, tree, api_image)
                write(tree, {MARKER: marker_text(each.name, LAYOUT_MARKER)})
    except ValueError as unfit:
        raise UsageError(f"--{unfit}") from unfit


def make_layout(name: str, tree: Path, image: str, *, program: Path = LAYOUT_PROGRAM) -> None:
    """Let `program` write the layout model `name` into `tree`. Raises PreflightError where the image is not there."""
    _require_image(image)
    stream(
        layout_command(image, name, tree, user=f"{os.getuid()}:{os.getgid()}", program=program),
        on_line=lambda _: None,  # Paddle's warnings; a failure shows the last of them
    )


def _require_image(image: str) -> None:
    with closing(engine.connect()) as client:
        try:
            client.images.get(image)
        except ImageNotFound as absent:
            raise PreflightError(
                f"{image}: no such image here, expected the pipeline API image in which the layout model is made",
                hint="build the images first: paddock build TARGET",
            ) from absent


def write(tree: Path, files: Mapping[str, bytes]) -> None:
    """The files of one set."""
    for name, content in files.items():
        (tree / name).write_bytes(content)
