"""The embedded model through a real stack: pages that nobody has seen, measured in characters.

The layout network and the reader run as the images run them; what is drawn here is what must come back.
"""

from __future__ import annotations

import json
import random

import pytest
from PIL import Image, ImageOps

from embedded_stack import Reader
from paddock.smoke.reading import error_rate
from paddock.weights.markers import NOTICE
from samples.drawn import PAGE, Document, document, roll, ruled

# Pages of each document: enough to show that the pipeline still reads as it did when fifty were measured
# (docs/reference/embedded-model.md). vLLM gives the same text as llama.cpp (test_same_text.py).
PAGES_OF = {"llama.cpp": (1, 1, 1, 2, 4), "vllm": (1, 1, 2)}
TABLES = ((1, 3), (3, 4), (5, 3))  # columns and rows
CHARACTERS_WRONG = 0.03
# What the layout network decides is the same with every VLM server.
with_llama = pytest.mark.parametrize("reader", ["llama.cpp"], indirect=True)


def test_it_says_what_it_is(reader: Reader) -> None:
    assert NOTICE in reader.up()
    assert NOTICE in reader.paddock("status").stdout


def test_smoke_checks_that_it_reads(reader: Reader) -> None:
    done = reader.paddock("smoke", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["notice"] == NOTICE
    assert [(check["check"], check["result"]) for check in found["checks"]] == [
        ("ocr", "passed"),
        ("image", "passed"),
        ("pdf", "passed"),
    ]


def test_unseen_pages_are_read_in_order(reader: Reader) -> None:
    pages_of = PAGES_OF[reader.backend]
    r = random.Random(20260611)
    wrong = length = whole = 0.0
    for number, count in enumerate(pages_of):
        made = document(r, count)
        kind = "PDF" if count > 1 else ("PNG", "JPEG", "PDF")[number % 3]
        found = reader.blocks(made.file(kind), pdf=kind == "PDF")
        assert len(found) == count
        for blocks, lines in zip(found, made.lines, strict=True):
            expected = "\n".join(lines)
            wrong += error_rate("\n".join(blocks), expected) * len(expected)
            length += len(expected)
            whole += len(blocks) == len(lines)
    pages = sum(pages_of)
    print(f"{wrong / length:.2%} of {length:.0f} characters wrong")
    print(f"{whole:.0f} of {pages} pages with a block a line")
    assert wrong / length <= CHARACTERS_WRONG
    assert whole >= 0.9 * pages  # nothing is missing, nothing doubled


@with_llama
def test_a_picture_far_longer_than_wide_is_read_to_its_end(reader: Reader) -> None:
    """It is cut for the layout network, which would see no line of it."""
    made = roll(random.Random(20261201), 60)
    ((found,), (expected,)) = reader.pages(made.file("PNG")), made.lines
    assert (
        error_rate("\n".join(block["block_content"] for block in found), "\n".join(expected))
        <= CHARACTERS_WRONG
    )
    assert max(block["block_bbox"][3] for block in found) > made.pages[0].height - 180  # of the whole page


@with_llama
def test_a_ruled_table_is_found_and_its_cells_are_read_row_by_row(reader: Reader) -> None:
    r = random.Random(20261121)
    found: list[str] = []
    expected: list[str] = []
    for columns, rows in TABLES:
        page, lines = ruled(r, columns, rows)
        (blocks,) = reader.pages(Document(pages=(page,), lines=(lines,)).file("PNG"))
        row = ["content", "reference_content"] * columns  # in turn: PaddleX would drop one of two neighbours
        labels = ["text", "table", *row[:columns] * rows, "text"]
        assert [block["block_label"] for block in blocks] == labels
        assert blocks[1]["block_content"] == ""
        found += [block["block_content"] for block in blocks if block["block_label"] != "table"]
        expected += lines
    wrong = [(read, drawn) for read, drawn in zip(found, expected, strict=True) if read != drawn]
    print(f"{len(wrong)} of {len(expected)} lines with an error: {wrong}")
    assert all(error_rate(read, drawn) < 0.5 for read, drawn in wrong)  # each cell its own text, in order
    assert error_rate("\n".join(found), "\n".join(expected)) <= CHARACTERS_WRONG


@with_llama
def test_a_turned_or_mirrored_page_or_another_order_is_told_apart(reader: Reader) -> None:
    made = document(random.Random(7), 2)
    texts = ["\n".join(lines) for lines in made.lines]
    for changed in (ImageOps.mirror(made.pages[0]), made.pages[0].rotate(180)):
        (blocks,) = reader.blocks(Document(pages=(changed,), lines=()).file("PNG"))
        assert error_rate("\n".join(blocks), texts[0]) > 0.5
    swapped = reader.blocks(Document(pages=made.pages[::-1], lines=()).file("PDF"), pdf=True)
    for blocks, expected, other in zip(swapped, texts, texts[::-1], strict=True):
        assert error_rate("\n".join(blocks), expected) > 0.5
        assert error_rate("\n".join(blocks), other) < 0.1


@with_llama
def test_an_empty_page_is_empty(reader: Reader) -> None:
    assert reader.blocks(Document(pages=(Image.new("L", PAGE, 255),), lines=()).file("PNG")) in ([[]], [[""]])
