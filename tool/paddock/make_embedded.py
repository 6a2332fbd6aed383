"""Writing the weights of the embedded model from what paddock carries; its layout network in the pipeline API image."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from paddock import weights
from paddock.embedded import NOTICE, vlm
from paddock.embedded.marker import MARKER, marker_text
from paddock.errors import ConfigurationError
from paddock.make_test import make_directory, make_layout, write
from paddock.matrix import Model, WeightSet, WeightsRole
from paddock.report import Reporter
from paddock.weights import Kind, Outcome

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
            weights.publish(trees[each.name], each, models_dir=models_dir, kind=Kind.EMBEDDED, report=report)
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
            write(tree, {MARKER: marker_text(each.name)})
        case _:
            raise ConfigurationError(
                f"{model.name}: {each.name}: found the role {each.role}, expected one that is made"
            )
