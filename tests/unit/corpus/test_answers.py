"""The readers themselves against the references: what is right is found to be right."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from answers import Sent, by_the_client
from documents import Reader
from limits import Limits
from references import Page, Reference, read
from repository import REPOSITORY
from verdicts import Verdict, verdict

SAMPLE = REPOSITORY / "docs/sample/receipt.pdf"


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(Limits())


def asked(reader: Reader, path: Path) -> tuple[Reference, Sent]:
    return read(path, 3), asyncio.run(by_the_client(reader, path, 3))


def test_the_sample_is_read_as_it_is(reader: Reader) -> None:
    known, sent = asked(reader, SAMPLE)
    assert known.whole
    assert [page.look.blank for page in known.pages if isinstance(page, Page)] == [False]
    assert sent.as_it_is
    assert verdict(known, sent.answer) == Verdict()


def test_a_picture_of_another_kind_is_converted_on_the_way(tmp_path: Path, reader: Reader) -> None:
    path = tmp_path / "receipt.webp"
    Image.open(SAMPLE.with_suffix(".png")).save(path, lossless=True)
    known, sent = asked(reader, path)
    assert not sent.as_it_is
    assert verdict(known, sent.answer) == Verdict()
