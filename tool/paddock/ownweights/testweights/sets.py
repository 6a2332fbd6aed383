"""Making small test weights for a model: the language model here, the layout model in the pipeline API image.

The language model is written by `testweights/vlm.py` and needs nothing else; the layout model is a Paddle
network, so `testweights/layout.py` runs in a container that has paddlepaddle.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from paddock.errors import ConfigurationError, UsageError, WeightsError
from paddock.matrix.records import Model, WeightSet, WeightsRole
from paddock.ownweights import hub
from paddock.ownweights.making import make_layout, make_sets, write
from paddock.ownweights.testweights import vlm
from paddock.report import Reporter
from paddock.weights import checking
from paddock.weights.installing import Outcome
from paddock.weights.lockfile import Kind
from paddock.weights.markers import DEFAULT_TEXT, TEST_MARKER, test_marker_text

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
    text: str = DEFAULT_TEXT,
) -> tuple[Outcome, ...]:
    """Make test weights for the sets of `model` (those with one of `roles`, or all) and record them as such.

    `api_image` is the pipeline API image in which the layout model is made; `text` is what the language model
    answers. Test weights that are there are made anew. Raises WeightsError where other weights are there,
    UsageError for a text that does not do, ConfigurationError for a model without test weights,
    PreflightError when the image is not there.
    """
    chosen = _chosen(model, roles, report)
    _require_replaceable(models_dir, chosen)

    def make(weight_set: WeightSet, tree: Path) -> None:
        _make(weight_set, model.served_name, tree, api_image, text)

    made = make_sets(
        chosen, make, models_dir=models_dir, kind=Kind.TEST, doing="making test weights", report=report
    )
    report.warn(f"test weights read nothing: every region of every page becomes {text!r}")
    return made


def _chosen(model: Model, roles: Collection[WeightsRole], report: Reporter) -> tuple[WeightSet, ...]:
    wanted = [weight_set for weight_set in model.weights if not roles or weight_set.role in roles]
    for weight_set in wanted:
        if weight_set.role not in MAKEABLE:
            report.say(
                f"{weight_set.name}: there are no test weights of this kind, and stacks start without it"
            )
    chosen = tuple(weight_set for weight_set in wanted if weight_set.role in MAKEABLE)
    layouts = [weight_set.name for weight_set in chosen if weight_set.role is WeightsRole.LAYOUT]
    unknown = [name for name in layouts if name not in LAYOUT_MODELS]
    if not chosen or unknown or model.served_name not in hub.REPLY_STARTS:
        known = ", ".join(hub.REPLY_STARTS)
        what = ", ".join(unknown) or model.served_name
        raise ConfigurationError(
            f"{model.name}: no test weights for {what}, expected one of {known} and its sets"
        )
    return chosen


def _require_replaceable(models_dir: Path, chosen: Sequence[WeightSet]) -> None:
    others = [weight_set.name for weight_set in chosen if not _replaceable(models_dir, weight_set.name)]
    if others:
        raise WeightsError(
            f"{models_dir}: found weights that are not test weights ({', '.join(others)}), "
            "expected none there",
            hint="leave them and use another directory (--to DIR), or remove them first",
        )


def _replaceable(models_dir: Path, name: str) -> bool:
    kind = checking.kind_of(models_dir, name)
    if kind is None:
        return not (models_dir / name).exists() or (models_dir / name / TEST_MARKER).is_file()
    return kind is Kind.TEST


def _make(weight_set: WeightSet, served_name: str, tree: Path, api_image: str, text: str) -> None:
    try:
        match weight_set.role:
            case WeightsRole.VLM:
                write(tree, vlm.hub_files(name=weight_set.name, served_name=served_name, text=text))
            case WeightsRole.GGUF:
                write(tree, vlm.gguf_files(name=weight_set.name, served_name=served_name, text=text))
            case _:
                make_layout(weight_set.name, tree, api_image, program=LAYOUT_PROGRAM)
                write(tree, {TEST_MARKER: test_marker_text(weight_set.name, LAYOUT_MARKER)})
    except ValueError as unfit:
        raise UsageError(f"--{unfit}") from unfit
