"""Making small test weights for a model: the language model here, the layout model inside the pipeline API
image.

The language model is written by `paddock.ownweights.testweights` and needs nothing; the layout model is a Paddle
network, so `testweights/layout.py` runs in a container that has paddlepaddle. Nothing appears before every
set has been made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from paddock.errors import ConfigurationError, UsageError, WeightsError
from paddock.matrix.records import Model, WeightSet, WeightsRole
from paddock.ownweights import hub
from paddock.ownweights.making import make_directory, make_layout, write
from paddock.ownweights.testweights import vlm
from paddock.ownweights.testweights.vlm import gguf_files
from paddock.report import Reporter
from paddock.weights import checking, installing, markers
from paddock.weights.installing import Outcome
from paddock.weights.lockfile import Kind
from paddock.weights.markers import TEST_MARKER, test_marker_text

MAKEABLE = (WeightsRole.VLM, WeightsRole.GGUF, WeightsRole.LAYOUT)
LAYOUT_PROGRAM = Path(vlm.__file__).with_name("layout.py")
LAYOUT_MODELS = ("PP-DocLayoutV2", "PP-DocLayoutV3")

LAYOUT_MARKER = (
    "This layout model finds the same six regions on every page, wherever its text and pictures are."
)


def make_test(
    model: Model,
    *,
    models_dir: Path,
    api_image: str,
    report: Reporter,
    roles: Collection[WeightsRole] = (),
    text: str = markers.DEFAULT_TEXT,
) -> tuple[Outcome, ...]:
    """Make test weights for the sets of `model` (those with one of `roles`, or all) and record them as such.

    `api_image` is the pipeline API image in which the layout model is made; `text` is what the language model
    answers. Test weights that are there are made anew. Raises WeightsError where other weights are there,
    UsageError for a text that does not do, ConfigurationError for a model without test weights,
    PreflightError when the image is not there.
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
            installing.publish(trees[each.name], each, models_dir=models_dir, kind=Kind.TEST, report=report)
            for each in chosen
        )
    report.warn(f"test weights read nothing: every region of every page becomes {text!r}")
    return made


def _chosen(model: Model, roles: Collection[WeightsRole], report: Reporter) -> tuple[WeightSet, ...]:
    wanted = [each for each in model.weights if not roles or each.role in roles]
    for each in wanted:
        if each.role not in MAKEABLE:
            report.say(f"{each.name}: there are no test weights of this kind, and stacks start without it")
    chosen = tuple(each for each in wanted if each.role in MAKEABLE)
    unknown = [
        each.name for each in chosen if each.role is WeightsRole.LAYOUT and each.name not in LAYOUT_MODELS
    ]
    if not chosen or unknown or model.served_name not in hub.REPLY_STARTS:
        known = ", ".join(hub.REPLY_STARTS)
        what = ", ".join(unknown) or model.served_name
        raise ConfigurationError(
            f"{model.name}: no test weights for {what}, expected one of {known} and its sets"
        )
    return chosen


def _require_replaceable(models_dir: Path, chosen: Sequence[WeightSet]) -> None:
    others = [each.name for each in chosen if not _replaceable(models_dir, each.name)]
    if others:
        raise WeightsError(
            f"{models_dir}: found weights that are not test weights ({', '.join(others)}), expected none there",
            hint="leave them and use another directory (--to DIR), or remove them first",
        )


def _replaceable(models_dir: Path, name: str) -> bool:
    kind = checking.kind_of(models_dir, name)
    if kind is None:
        return not (models_dir / name).exists() or (models_dir / name / TEST_MARKER).is_file()
    return kind is Kind.TEST


def _make(each: WeightSet, served_name: str, tree: Path, api_image: str, text: str) -> None:
    try:
        match each.role:
            case WeightsRole.VLM:
                write(tree, vlm.hub_files(name=each.name, served_name=served_name, text=text))
            case WeightsRole.GGUF:
                write(tree, gguf_files(name=each.name, served_name=served_name, text=text))
            case _:
                make_layout(each.name, tree, api_image, program=LAYOUT_PROGRAM)
                write(tree, {TEST_MARKER: test_marker_text(each.name, LAYOUT_MARKER)})
    except ValueError as unfit:
        raise UsageError(f"--{unfit}") from unfit
