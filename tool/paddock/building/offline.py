"""What an offline image needs of the models directory: the weights that it is to hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paddock.errors import WeightsError
from paddock.matrix.images import StackImage, stack_images
from paddock.matrix.records import Stack, WeightsRole
from paddock.report import Reporter


def require_weights(stack: Stack, models_dir: Path) -> None:
    """Raise WeightsError unless every weight set that the stack's images serve is in `models_dir`."""
    wanted = stack.model.name
    if stack.backend.weights_role is not WeightsRole.VLM:
        wanted += f" --backend {stack.backend.name}"
    for image in stack_images(stack):
        for weights in image.weights:
            if not (models_dir / weights.name).is_dir():
                raise WeightsError(
                    f"{models_dir}: found no {weights.name}, "
                    "expected the weights that the offline image holds",
                    hint=f"`paddock models fetch {wanted}` brings them; for a trial,"
                    f" `paddock models make-test {stack.model.name}` makes small ones",
                )


def has_preprocessor(images: Sequence[StackImage], models_dir: Path, report: Reporter) -> bool:
    """Whether all weights of the document preprocessor are in `models_dir`; warns where some are missing."""
    wanted = [weights.name for image in images for weights in image.further_weights]
    missing = [name for name in wanted if not (models_dir / name).is_dir()]
    if missing:
        report.warn(
            f"{models_dir}: found no {', '.join(missing)}: the offline image can be used with "
            "use_doc_preprocessor: false only, as it is rendered"
        )
    return bool(wanted) and not missing
