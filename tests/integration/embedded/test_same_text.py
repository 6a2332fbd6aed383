"""The same lines to vLLM, to llama.cpp and to PaddleX's native engine: all three say the same."""

from __future__ import annotations

import base64
import io
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from embedded_stack import Reader
from paddock import process
from paddock.matrix.records import Task
from paddock.ownweights.hub import MERGE, MIN_PIXELS, PATCH
from paddock.smoke.questions import PROMPTS, Questions
from paddock.smoke.reading import error_rate
from programs import run, succeeded
from samples.drawn import Document, drawn

PAGES = 3
CHARACTERS_WRONG = 0.03
NATIVE = Path(__file__).with_name("native_reader.py")
# Pixels of a token. A picture of whole tokens, and enough of them, is resized by no server.
GRID = PATCH * MERGE


@pytest.fixture(scope="module")
def said() -> dict[tuple[str, str], list[str]]:
    """What each reader made of the lines, by its name and theirs: the servers run one after the other."""
    return {}


@pytest.mark.parametrize("lines", ["on the grid", "as cut"])
def test_all_servers_say_the_same(
    reader: Reader, cut: list[tuple[Image.Image, str]], said: dict[tuple[str, str], list[str]], lines: str
) -> None:
    assert len(cut) > 20
    pictures = tuple(png(on_the_grid(picture) if lines == "on the grid" else picture) for picture, _ in cut)
    truth = [text for _, text in cut]
    said[lines, reader.backend] = served(reader, pictures)
    said[lines, "native"] = read_natively(reader, pictures)
    ours = said[lines, reader.backend]
    print(f"{reader.backend}, {lines}: {wrong(ours, truth):.2%} of the characters wrong, {len(ours)} lines")
    assert wrong(ours, truth) <= CHARACTERS_WRONG
    for (of_lines, name), theirs in said.items():
        if of_lines != lines:
            continue
        assert wrong(theirs, truth) <= CHARACTERS_WRONG, name
        if lines == "on the grid":
            assert ours == theirs, name
        else:  # llama.cpp keeps proportions and fills the rest with black, the others stretch
            assert wrong(ours, theirs) <= CHARACTERS_WRONG, name


@pytest.fixture(scope="module")
def lines_cut() -> list[tuple[Image.Image, str]]:
    """What `cut` found; the layout network is the same before every server."""
    return []


@pytest.fixture
def cut(reader: Reader, lines_cut: list[tuple[Image.Image, str]]) -> list[tuple[Image.Image, str]]:
    """Lines of drawn pages, cut where the layout network found them, and what stands there."""
    r, found = random.Random(6), lines_cut
    for _ in range(0 if found else PAGES):
        page, texts = drawn(r)
        (blocks,) = reader.pages(Document(pages=(page,), lines=(texts,)).file("PNG"))
        assert len(blocks) == len(texts)
        found += [(page.crop(block["block_bbox"]), text) for block, text in zip(blocks, texts, strict=True)]
    return found


def on_the_grid(picture: Image.Image) -> Image.Image:
    """The picture as PaddleOCR-VL's processor resizes one of too few pixels."""
    width, height = picture.size
    scale = max(1.0, (MIN_PIXELS / (width * height)) ** 0.5)
    size = (-int(-width * scale // GRID) * GRID, -int(-height * scale // GRID) * GRID)
    return picture.resize(size, Image.Resampling.BICUBIC)


def png(picture: Image.Image) -> str:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


def wrong(found: list[str], expected: list[str]) -> float:
    """The character error rate of all lines together."""
    pairs = zip(found, expected, strict=True)
    return sum(error_rate(read, drawn) * len(drawn) for read, drawn in pairs) / sum(map(len, expected))


def served(reader: Reader, pictures: tuple[str, ...]) -> list[str]:
    """Asked directly, from the container that reaches the VLM server."""
    asking = Questions(
        container=reader.container("api"), where={"pipeline": "/etc/paddock/pipeline.yaml"}, timeout=60
    )
    body = {"prompt": PROMPTS[Task.OCR], "extra_body": {"skip_special_tokens": True}}
    questions = [{"name": "line", "png": picture, **body} for picture in pictures]
    printed: list[str] = []
    request = json.dumps({**asking.where, "timeout": asking.timeout, "questions": questions})
    process.stream(asking.argv(), on_line=printed.append, stdin=request + "\n")
    return [answer["answer"] for line in printed if "name" in (answer := json.loads(line))]


def read_natively(reader: Reader, pictures: tuple[str, ...]) -> list[str]:
    """By PaddleX's native engine, in the pipeline API's image."""
    reader.fetch("vllm")
    return list(_read_natively(reader.shop.image("cpu-api"), reader.models, pictures))


@cache
def _read_natively(image: str, models: str, pictures: tuple[str, ...]) -> tuple[str, ...]:
    python = ("docker", "run", "--rm", "--interactive", "--network=none", "--entrypoint=python")
    request = json.dumps({"model": "/models/embedded", "pngs": pictures}) + "\n"
    reading = (*python, f"--volume={models}:/models:ro", image, "-c", NATIVE.read_text())
    lines = succeeded(run(*reading, stdin=request)).splitlines()
    answers: list[dict[str, Any]] = [json.loads(line) for line in lines if line.startswith("{")]
    return tuple(answer["text"] for answer in answers)
