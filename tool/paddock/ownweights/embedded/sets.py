"""Writing the weights of the embedded model from what paddock ships.

Its layout network is a Paddle program, so it is made in a container of the pipeline API's image.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paddock.errors import ConfigurationError
from paddock.matrix.records import Model, WeightSet, WeightsRole
from paddock.ownweights.embedded import vlm
from paddock.ownweights.making import make_layout, make_sets, write
from paddock.report import Reporter
from paddock.weights.installing import Outcome
from paddock.weights.lockfile import Kind
from paddock.weights.markers import EMBEDDED_MARKER, NOTICE, embedded_marker_text

LAYOUT_PROGRAM = Path(vlm.__file__).with_name("layout.py")


def make_embedded(
    model: Model, chosen: Sequence[WeightSet], *, models_dir: Path, api_image: str, report: Reporter
) -> tuple[Outcome, ...]:
    """Write the sets `chosen` of the embedded model and record them. Those that are here are written anew.

    Raises PreflightError where `api_image`, in which the layout network is made, is not there.
    """

    def make(weight_set: WeightSet, tree: Path) -> None:
        _make(model, weight_set, tree, api_image)

    made = make_sets(
        chosen,
        make,
        models_dir=models_dir,
        kind=Kind.EMBEDDED,
        doing="writing the embedded model",
        report=report,
    )
    report.warn(NOTICE)
    return made


def _make(model: Model, weight_set: WeightSet, tree: Path, api_image: str) -> None:
    match weight_set.role:
        case WeightsRole.VLM:
            write(tree, vlm.hub_files(name=weight_set.name, served_name=model.served_name))
        case WeightsRole.GGUF:
            write(tree, vlm.gguf_files(name=weight_set.name, served_name=model.served_name))
        case WeightsRole.LAYOUT if model.pipeline is not None:
            make_layout(model.pipeline.layout_model, tree, api_image, program=LAYOUT_PROGRAM)
            write(tree, {EMBEDDED_MARKER: embedded_marker_text(weight_set.name)})
        case _:
            raise ConfigurationError(
                f"{model.name}: {weight_set.name}: found the role {weight_set.role}, "
                "expected one that is made"
            )
