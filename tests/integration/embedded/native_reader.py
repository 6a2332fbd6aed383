"""Runs inside the pipeline API's image: reads pictures of lines with PaddleX's native engine.

    python native_reader.py < request.json

Reads one line of JSON, {"model": DIRECTORY, "pngs": [base64, ...]}; prints a line of JSON for each picture.
This file imports nothing of paddock.
"""

from __future__ import annotations

import base64
import io
import json
import sys

import numpy
from paddlex import create_model
from PIL import Image

request = json.loads(sys.stdin.readline())
model = create_model("PaddleOCR-VL-1.6-0.9B", model_dir=request["model"], device="cpu")
for png in request["pngs"]:
    colours = numpy.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))[..., ::-1]
    # As PaddleX's pipeline asks for the text of a region (PaddleX 3.7.2).
    question = {"image": numpy.ascontiguousarray(colours), "query": "OCR:"}
    (found,) = model.predict(question, min_pixels=112896, max_pixels=1003520, skip_special_tokens=True)
    print(json.dumps({"text": found["result"]}), flush=True)
