"""Writes the layout test weights: run inside a pipeline API image (it needs paddlepaddle), never on the host.

    python -m paddock.ownweights.testweights.layout --model PP-DocLayoutV3 --out DIR

A static Paddle network with the inputs and outputs of upstream's layout model. It looks for nothing: every
page gets the same six regions, as fractions of its size. Only the score (0.90 to 0.95) depends on the pixels.
Of paddock it imports `layoutfiles.py` alone.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import paddle
from paddle import Tensor

from paddock.ownweights.layoutfiles import LABELS, MASK, write


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A constant region: left, top, right, bottom as fractions of the page."""

    label: str
    box: tuple[float, float, float, float]


CONSTANT_REGIONS = (
    Region(label="doc_title", box=(0.05, 0.03, 0.95, 0.11)),
    Region(label="text", box=(0.05, 0.12, 0.95, 0.40)),
    Region(label="table", box=(0.05, 0.42, 0.95, 0.62)),
    Region(label="display_formula", box=(0.05, 0.64, 0.95, 0.70)),
    Region(label="image", box=(0.05, 0.72, 0.45, 0.95)),
    Region(label="text", box=(0.50, 0.72, 0.95, 0.95)),
)


class ConstantLayout(paddle.nn.Layer):  # type: ignore[misc]
    """(im_shape, image, scale_factor) -> constant regions.

    PP-DocLayoutV3: boxes [N, 7] (class, score, four corners in pixels of the page, reading order), count
    [pages], masks [N, 200, 200]. PP-DocLayoutV2: boxes [N, 8] (the same and the votes for the order), count;
    no masks.
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self.with_masks = model == "PP-DocLayoutV3"
        order = [[float(place)] * (1 if self.with_masks else 2) for place in range(len(CONSTANT_REGIONS))]
        self.register_buffer("classes", _column([LABELS.index(region.label) for region in CONSTANT_REGIONS]))
        self.register_buffer(
            "fractions", paddle.to_tensor([region.box for region in CONSTANT_REGIONS], "float32")
        )
        self.register_buffer("order", paddle.to_tensor(order, "float32"))

    def forward(self, im_shape: Tensor, image: Tensor, scale_factor: Tensor) -> tuple[Tensor, ...]:
        size = (im_shape / scale_factor)[:, [1, 0]]  # width, height of the page
        corners = self.fractions.unsqueeze(0) * paddle.concat([size, size], 1).unsqueeze(
            1
        )  # pages, regions, 4
        brightness = paddle.clip(image.mean(axis=[1, 2, 3]), 0, 1).reshape([-1, 1, 1])
        score = 0.90 + 0.05 * brightness + paddle.zeros_like(corners[:, :, :1])
        classes = self.classes.unsqueeze(0) + paddle.zeros_like(score)
        order = self.order.unsqueeze(0) + paddle.zeros_like(score)
        boxes = paddle.concat([classes, score, corners, order], -1).reshape([-1, 7 if self.with_masks else 8])
        count = paddle.full_like(score[:, 0, 0], len(CONSTANT_REGIONS)).astype("int32")
        if not self.with_masks:
            return boxes, count
        masks = paddle.ones([1, MASK, MASK], "int32") + paddle.zeros_like(boxes[:, :1]).astype(
            "int32"
        ).unsqueeze(-1)
        return boxes, count, masks


def _column(values: list[int]) -> Tensor:
    return paddle.to_tensor([[value] for value in values], "float32")


def main() -> None:
    """Read the arguments and write the set."""
    parser = argparse.ArgumentParser(description="Write layout test weights (constant regions).")
    parser.add_argument("--model", choices=("PP-DocLayoutV2", "PP-DocLayoutV3"), required=True)
    parser.add_argument("--out", type=Path, required=True, help="an existing, empty directory")
    arguments = parser.parse_args()
    write(ConstantLayout(arguments.model), arguments.out, model=arguments.model)


if __name__ == "__main__":
    main()
