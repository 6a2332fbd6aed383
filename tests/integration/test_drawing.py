"""The pipeline API's own drawing of layout pictures gives PaddleX's pixels, in the image where both are."""

from __future__ import annotations

from programs import run

PROGRAM = """
import sys
import numpy as np
from PIL import Image
sys.path.insert(0, "/opt/paddock")
import drawing
from paddlex.inference.models.layout_analysis import result

random = np.random.default_rng(7)
height, width = 620, 440
page = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def box(position):
    corners = random.integers(-40, 660, (int(random.integers(3, 7)), 2))
    left, top = corners.min(axis=0)
    return {
        "cls_id": int(random.integers(0, 9)), "label": f"class {position % 4}", "score": 0.9,
        "coordinate": [int(left), int(top), int(left) + 60, int(top) + 60], "order": position + 1,
        "polygon_points": corners.tolist(),
    }


compared = 0
for _ in range(25):
    boxes = [box(position) for position in range(int(random.integers(1, 12)))]
    original = (result.draw_mask, result.restore_to_draw_masks)
    expected = np.array(result.draw_mask(page.copy(), boxes, (height, width)))
    drawing.install()
    found = np.array(result.draw_mask(page.copy(), boxes, (height, width)))
    result.draw_mask, result.restore_to_draw_masks = original
    assert (found == expected).all(), np.abs(found.astype(int) - expected).max()
    assert (found != np.array(page)).any()
    compared += 1
print(f"compared {compared}")
"""


def test_drawing_equals_paddlex_pixel_by_pixel(images: tuple[str, ...]) -> None:
    python = ("docker", "run", "--rm", "--interactive", "--network=none", "--entrypoint=python", images[0])
    done = run(*python, "-", stdin=PROGRAM)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("compared 25\n")
