"""What every layout network of ours shares: the classes, the inputs and the files of PP-DocLayoutV3.

For the programs `embedded/layout.py` and `testweights/layout.py`, and like them for inside a pipeline API
image (it needs paddlepaddle): `making.layout_command` mounts it beside them. This file imports nothing of
paddock.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import paddle
import yaml
from paddle.static import InputSpec

# The classes of PP-DocLayoutV2 and V3, in their order (https://huggingface.co/PaddlePaddle/PP-DocLayoutV3).
LABELS = [
    "abstract",
    "algorithm",
    "aside_text",
    "chart",
    "content",
    "display_formula",
    "doc_title",
    "figure_title",
    "footer",
    "footer_image",
    "footnote",
    "formula_number",
    "header",
    "header_image",
    "image",
    "inline_formula",
    "number",
    "paragraph_title",
    "reference",
    "reference_content",
    "seal",
    "table",
    "text",
    "vertical_text",
    "vision_footnote",
]
SIDE = 800  # pixels of the square that a page is resized to
MASK = 200  # pixels of the square of a region's mask


def write(network: paddle.nn.Layer, out: Path, *, model: str) -> None:
    """Write inference.json, inference.pdiparams and inference.yml of a network with the interface of `model`.

    It takes im_shape, image and scale_factor; `out` is a directory that is there.
    """
    network.eval()
    inputs = [
        InputSpec([None, 2], "float32", "im_shape"),
        InputSpec([None, 3, SIDE, SIDE], "float32", "image"),
        InputSpec([None, 2], "float32", "scale_factor"),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle warns about its own graph mode
        paddle.jit.save(
            paddle.jit.to_static(network, input_spec=inputs, full_graph=True), str(out / "inference")
        )
    text = yaml.safe_dump(description(model), sort_keys=False, default_flow_style=None)
    (out / "inference.yml").write_text(text, encoding="utf-8")


def description(model: str) -> dict[str, object]:
    """`inference.yml`: what PaddleX does before and after the network."""
    return {
        "Global": {"model_name": model},
        "mode": "paddle",
        "metric": "COCO",
        "arch": "DETR",
        "draw_threshold": 0.5,
        "use_dynamic_shape": False,
        "min_subgraph_size": 3,
        "Preprocess": [
            {"type": "Resize", "target_size": [SIDE, SIDE], "keep_ratio": False, "interp": 2},
            {"type": "NormalizeImage", "mean": [0.0] * 3, "std": [1.0] * 3, "norm_type": "none"},
            {"type": "Permute"},
        ],
        "label_list": LABELS,
    }
