"""Loads pipeline configurations with the PaddleX of this interpreter, as `serve.py` of the pipeline API does.

Runs in the image of the pipeline API. PaddleX ignores keys that it does not know, so a misspelt one would be
lost in silence: every key must be one that PaddleX's own configuration of that pipeline has, or a field of
its models.

usage: load_pipelines.py < REQUEST > ANSWER
REQUEST   JSON: {name: text of a pipeline.yaml}
ANSWER    the last line of stdout, JSON: {"version": ..., "refused": {name: [reasons]}}
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import paddlex
from openai import AsyncOpenAI
from paddlex.inference import load_pipeline_config
from paddlex.inference.models.common.genai import GenAIConfig
from paddlex.inference.pipelines.base import BasePipeline
from paddlex.inference.serving.infra.config import AppConfig, create_app_config

# Read by PaddleX 3.7.2 (inference/serving/basic_serving, pipelines/paddleocr_vl), absent from its own files.
ALSO_READ = {"max_output_img_size", "visualize", "extra", "model_dir", "batch_size", "threshold"}


def reasons_against(text: str) -> Iterator[str]:
    """Each thing that PaddleX would refuse or drop."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(text, "utf-8")
        ours = load_pipeline_config(str(path))
    name = ours["pipeline_name"]
    BasePipeline.get(name)  # an exception where no class has that name
    theirs = load_pipeline_config(name)
    recognition = ours["SubModules"]["VLRecognition"]
    genai = recognition.pop("genai_config")
    theirs["SubModules"]["VLRecognition"].pop("genai_config")
    yield from _unknown(ours, theirs, "")
    yield from _names(ours, theirs)
    yield from _genai(genai)
    create_app_config(ours)
    unknown = set(ours["Serving"]) - set(AppConfig.model_fields)
    if unknown:
        yield f"Serving: {sorted(unknown)}: no such field"


def _unknown(ours: Mapping[Any, Any], theirs: Mapping[Any, Any], where: str) -> Iterator[str]:
    for key, value in ours.items():
        here = f"{where}{key}"
        if key not in theirs:
            if key not in ALSO_READ:
                yield f"{here}: PaddleX's own configuration has no such key"
        elif isinstance(value, Mapping) and isinstance(theirs[key], Mapping):
            yield from _unknown(value, theirs[key], f"{here}.")
        elif isinstance(theirs[key], (bool, list)) and type(value) is not type(theirs[key]):
            yield f"{here}: {value!r} is no {type(theirs[key]).__name__}"


def _names(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """A model's name decides which class reads it: ours are those of PaddleX for that pipeline."""
    for part, settings in theirs["SubModules"].items():
        for key in ("module_name", "model_name"):
            if ours["SubModules"][part][key] != settings[key]:
                yield f"SubModules.{part}.{key}: {ours['SubModules'][part][key]}, PaddleX has {settings[key]}"


def _genai(genai: Mapping[str, Any]) -> Iterator[str]:
    checked = GenAIConfig.model_validate(genai)
    unknown = set(genai) - set(GenAIConfig.model_fields)
    unknown |= set(genai.get("client_kwargs") or ()) - set(inspect.signature(AsyncOpenAI).parameters)
    if unknown:
        yield f"genai_config: {sorted(unknown)}: no such field"
    if checked.server_url is None or not checked.server_url.endswith("/v1"):
        yield f"genai_config.server_url: {checked.server_url} does not end in /v1"


def main() -> None:
    """Read the request, load each, print the answer."""
    refused = {}
    for name, text in json.load(sys.stdin).items():
        try:
            reasons = list(reasons_against(text))
        except Exception as failure:  # whatever PaddleX raises is its reason
            reasons = [f"{type(failure).__name__}: {failure}"]
        if reasons:
            refused[name] = reasons
    print(json.dumps({"version": paddlex.__version__, "refused": refused}))


if __name__ == "__main__":
    main()
