"""Writing the weights of the embedded model from what paddock carries; its layout network in the pipeline API
image.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from paddock.errors import ConfigurationError
from paddock.matrix.records import Model, WeightSet, WeightsRole
from paddock.ownweights.embedded import vlm
from paddock.ownweights.making import make_directory, make_layout, write
from paddock.report import Reporter
from paddock.weights import installing
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
    make_directory(models_dir)
    with tempfile.TemporaryDirectory(prefix=".make-embedded-", dir=models_dir) as staging:
        trees = {each.name: Path(staging) / each.name for each in chosen}
        for each in chosen:
            report.say(f"{each.name}: writing the embedded model")
            trees[each.name].mkdir()
            _make(model, each, trees[each.name], api_image)
        made = tuple(
            installing.publish(
                trees[each.name], each, models_dir=models_dir, kind=Kind.EMBEDDED, report=report
            )
            for each in chosen
        )
    report.warn(NOTICE)
    return made


def _make(model: Model, each: WeightSet, tree: Path, api_image: str) -> None:
    match each.role:
        case WeightsRole.VLM:
            write(tree, vlm.hub_files(name=each.name, served_name=model.served_name))
        case WeightsRole.GGUF:
            write(tree, vlm.gguf_files(name=each.name, served_name=model.served_name))
        case WeightsRole.LAYOUT if model.pipeline is not None:
            make_layout(model.pipeline.layout_model, tree, api_image, program=LAYOUT_PROGRAM)
            write(tree, {EMBEDDED_MARKER: embedded_marker_text(each.name)})
        case _:
            raise ConfigurationError(
                f"{model.name}: {each.name}: found the role {each.role}, expected one that is made"
            )
