"""The root manifest: one way to write it, and every refusal."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from paddock.bundle.format.manifest import (
    FORMAT,
    Base,
    Blob,
    Carried,
    Compression,
    File,
    Image,
    Kind,
    Layer,
    Manifest,
    Part,
    StackName,
    parse,
)
from paddock.errors import BundleError


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


WHOLE = Layer(diff_id=digest("1"), raw_size=10, digest=digest("2"), size=5, carried=Carried.WHOLE)
GOOD = Manifest(
    format=FORMAT,
    kind=Kind.FULL,
    tool="0.1.0",
    platform="linux/amd64",
    stack=None,
    images=(Image(reference="a:1", config=digest("a"), manifest=digest("b"), layers=(WHOLE.diff_id,)),),
    layers=(WHOLE,),
    compression=Compression(level=5, libzstd="1.5.7"),
    archive="images.tar",
    parts=(
        Part(name="images.tar.000", size=60, sha256="c" * 64),
        Part(name="images.tar.001", size=40, sha256="d" * 64),
    ),
    blobs=(
        Blob(digest=digest("2"), size=5, offset=0),
        Blob(digest=digest("a"), size=5, offset=5),
        Blob(digest=digest("b"), size=50, offset=50),
    ),
    files=(File(path="stack/compose.yaml", size=3, sha256="e" * 64),),
    base=None,
)


def test_what_is_written_is_read_back() -> None:
    assert parse(GOOD.to_bytes()) == GOOD
    assert len(GOOD.id) == 16
    assert GOOD.id != replace(GOOD, tool="0.1.1").id


def test_sums_name_every_file() -> None:
    lines = GOOD.sums().decode().splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        "bundle.json",
        "images.tar.000",
        "images.tar.001",
        "stack/compose.yaml",
    ]


def changed(**values: Any) -> bytes:
    plain = json.loads(GOOD.to_bytes())
    plain.update(values)
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() + b"\n"


STACK = StackName(name="cpu", target="cpu", backend="vllm", model="paddleocr-vl-1.6", variant="online")
RECIPE = replace(WHOLE, carried=Carried.RECIPE, recipe=digest("2"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a":1,"a":2}', "stands twice"),
        (b"[]", "expected an object"),
        (changed(format="paddock-bundle/2"), "expected 'paddock-bundle/1'"),
        (changed(extra=1), "extra"),
        (changed(platform=3), "expected a string"),
        (changed(kind="half"), "expected one of full, delta"),
        (GOOD.to_bytes() + b" ", "canonical"),
        (replace(GOOD, files=(File(path="../x", size=1, sha256="e" * 64),)).to_bytes(), "plain name"),
        (replace(GOOD, files=(File(path="/x", size=1, sha256="e" * 64),)).to_bytes(), "plain name"),
        (
            replace(GOOD, files=(File(path="Bundle.JSON", size=1, sha256="e" * 64),)).to_bytes(),
            "stands twice",
        ),
        (replace(GOOD, files=(File(path="x", size=1, sha256="e" * 63),)).to_bytes(), "SHA-256"),
        (replace(GOOD, parts=GOOD.parts[1:]).to_bytes(), "expected images.tar.000"),
        (replace(GOOD, blobs=GOOD.blobs[1:]).to_bytes(), "not in the archive"),
        (replace(GOOD, blobs=(*GOOD.blobs, GOOD.blobs[0])).to_bytes(), "overlaps"),
        (
            replace(GOOD, blobs=(*GOOD.blobs, Blob(digest=digest("9"), size=9, offset=99))).to_bytes(),
            "outside",
        ),
        (
            replace(GOOD, blobs=(*GOOD.blobs, Blob(digest=digest("9"), size=-9, offset=99))).to_bytes(),
            "expected at least 0",
        ),
        (replace(GOOD, layers=()).to_bytes(), "not described"),
        (replace(GOOD, layers=(WHOLE, WHOLE)).to_bytes(), "stands twice"),
        (replace(GOOD, layers=(replace(WHOLE, size=4),)).to_bytes(), "two sizes"),
        (replace(GOOD, layers=(replace(WHOLE, raw_size=-1),)).to_bytes(), "expected at least 0"),
        (replace(GOOD, platform="linux").to_bytes(), "found the name 'linux'"),
        (replace(GOOD, archive="../images.tar").to_bytes(), "found the name"),
        (replace(GOOD, tool="1\x1b[2J").to_bytes(), "found the name"),
        (replace(GOOD, images=(replace(GOOD.images[0], reference="-v"),)).to_bytes(), "found the name '-v'"),
        (replace(GOOD, stack=replace(STACK, name="../..")).to_bytes(), "found the name '../..'"),
        (replace(GOOD, layers=(RECIPE,)).to_bytes(), "every layer whole"),
        (
            replace(GOOD, kind=Kind.DELTA, layers=(replace(RECIPE, recipe=None),)).to_bytes(),
            "not in the archive",
        ),
        (
            replace(
                GOOD, kind=Kind.DELTA, layers=(replace(WHOLE, carried=Carried.BASE),), base=Base(layers=())
            ).to_bytes(),
            "neither carried nor named",
        ),
    ],
)
def test_refused(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        parse(data, where="medium/bundle.json")
    assert caught.value.message.startswith("medium/bundle.json: ")
    assert caught.value.exit_code == 7
