"""Orientation and unwarping are loaded where their weights are, and change the page of whoever asks for them.

The networks are made here: one calls a page upside down whose lower half is the darker one, the other gives
the page back as it is. PaddleX and our start of it are real, in the pipeline API's image.
"""

from __future__ import annotations

from programs import run
from repository import REPOSITORY

PIPELINE = REPOSITORY / "compose/cpu/pipeline.yaml"
MAKE = '''
import paddle, sys, yaml
from pathlib import Path

class Network(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.register_buffer("one", paddle.ones([1]))  # without a parameter no file of them is written

class UpsideDown(Network):
    """Scores of 0, 90, 180 and 270 degrees."""
    def forward(self, x):
        x = x * self.one
        darker = x[:, :, 112:].mean([1, 2, 3]) < x[:, :, :112].mean([1, 2, 3])
        score = darker.astype("float32").unsqueeze(-1)
        nothing = paddle.zeros_like(score)
        return paddle.concat([1 - score, nothing, score, nothing], -1)

class Same(Network):
    def forward(self, x):
        return x * self.one

ORIENTATION = {
    "Global": {"model_name": "PP-LCNet_x1_0_doc_ori"},
    "PreProcess": {"transform_ops": [
        {"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}},
        {"NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": 1 / 255,
                            "order": "", "channel_num": 3}},
        {"ToCHWImage": None},
    ]},
    "PostProcess": {"Topk": {"topk": 1, "label_list": ["0", "90", "180", "270"]}},
}
for name, network, sides, said in (
    ("PP-LCNet_x1_0_doc_ori", UpsideDown(), [224, 224], ORIENTATION),
    ("UVDoc", Same(), [-1, -1], {"Global": {"model_name": "UVDoc"}}),
):
    if name not in sys.argv[1:]:
        continue
    folder = Path("/tmp/models") / name
    folder.mkdir(parents=True)
    inputs = [paddle.static.InputSpec([-1, 3, *sides], "float32", "x")]
    network.eval()
    static = paddle.jit.to_static(network, input_spec=inputs, full_graph=True)
    paddle.jit.save(static, str(folder / "inference"))
    (folder / "inference.yml").write_text(yaml.safe_dump(said))
    if "damaged" in sys.argv[1:]:
        (folder / "inference.json").write_text("no model")
'''
USE = """
import json, os, subprocess, sys
os.environ["PADDOCK_KEY_FILE"] = "/dev/null"
sys.path.insert(0, "/opt/paddock")
import numpy as np
import parsing, predictors, serve, yaml

if __name__ == "__main__":
    paddle = predictors.Predictors()
    configuration = yaml.safe_load(open("/pipeline.yaml").read().replace("/models/", "/tmp/models/"))
    configuration["use_layout_detection"] = False
    pipeline, here = serve.load(configuration, paddle)
    page = np.full((600, 400, 3), 255, np.uint8)
    page[400:] = 0
    inner = pipeline._pipeline
    said = {"here": here, "loaded": inner.use_doc_preprocessor}
    if inner.use_doc_preprocessor:
        (done,) = inner.doc_preprocessor_pipeline(
            [page], use_doc_orientation_classify="orientation" in here, use_doc_unwarping="unwarping" in here
        )
        said["angle"] = int(done["angle"])
        said["dark at the top"] = bool(done["output_img"][:100].mean() < 50)
    print(json.dumps(said))
"""


def said(image: str, *models: str) -> str:
    """What a start with these weights has loaded and does."""
    files = "".join(
        f"cat > /tmp/{name}.py <<'E'\n{text}\nE\n" for name, text in (("make", MAKE), ("use", USE))
    )
    script = f"{files}python /tmp/make.py {' '.join(models)} && python /tmp/use.py"
    pipeline = f"--volume={PIPELINE}:/pipeline.yaml:ro"
    container = ("docker", "run", "--rm", "--network=none", pipeline, "--entrypoint=sh", image)
    done = run(*container, "-c", script)
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    return found


def test_both(images: tuple[str, ...]) -> None:
    assert said(images[0], "PP-LCNet_x1_0_doc_ori", "UVDoc") == (
        '{"here": ["orientation", "unwarping"], "loaded": true, "angle": 180, "dark at the top": true}'
    )


def test_one_of_them(images: tuple[str, ...]) -> None:
    assert said(images[0], "PP-LCNet_x1_0_doc_ori") == (
        '{"here": ["orientation"], "loaded": true, "angle": 180, "dark at the top": true}'
    )


def test_none(images: tuple[str, ...]) -> None:
    assert said(images[0]) == '{"here": [], "loaded": false}'


def test_weights_that_are_damaged_cost_the_option_and_not_the_service(images: tuple[str, ...]) -> None:
    assert said(images[0], "UVDoc", "damaged") == '{"here": [], "loaded": false}'
