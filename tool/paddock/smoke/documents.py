"""The check of a pipeline API: an image and a PDF of ours, compared with what stands on them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from io import BytesIO

from paddock.errors import PaddockError, UnknownClientError
from paddock.matrix.records import Task
from paddock.parse.client import Client
from paddock.parse.document import Document, Kind
from paddock.parse.wire import ParseOptions
from paddock.report import Reporter
from paddock.smoke import reading
from paddock.smoke.known import KnownDocument, known_answers
from paddock.smoke.verdicts import (
    LIMITS,
    READS,
    Check,
    Expectation,
    Outcome,
    Side,
    Verdict,
    checked,
    outcome_of_test_weights,
)
from paddock.weights.markers import DEFAULT_TEXT

PAGE_LIMIT = 0.10  # the share of a page's words that may be missing


def check_documents(client: Client, expectation: Expectation | None, report: Reporter) -> Iterator[Check]:
    """Have the API parse each of our documents.

    `expectation` None: the weights could not be looked at, so test weights are recognised by their text.
    """
    plain = expectation is not None and expectation.plain
    for known in known_answers(plain=plain).documents:
        report.say(f"{Side.API}: {known.name}, {len(known.pages)} page(s)")
        yield _check(client, known, expectation)


def _check(client: Client, known: KnownDocument, expectation: Expectation | None) -> Check:
    began = time.monotonic()
    try:
        parsed = client.parse(_document(known), ParseOptions(pictures=False))
    except PaddockError as failure:
        seconds = time.monotonic() - began
        step = f"; {failure.hint}" if isinstance(failure, UnknownClientError) else ""
        outcome = Outcome(verdict=Verdict.FAILED, reason=failure.message + step)
        return checked(Side.API, known.name, outcome, seconds=seconds)
    seconds = time.monotonic() - began
    pages = [page.markdown for page in parsed.pages]
    outcome = _outcome(pages, known, expectation or _expectation_by_text(pages))
    return checked(Side.API, known.name, outcome, seconds=seconds, answer="\n\n".join(pages).strip())


def _document(known: KnownDocument) -> Document:
    data = known.read()
    return Document(
        name=known.file,
        kind=Kind.PDF if known.file.endswith(".pdf") else Kind.PNG,
        size=len(data),
        pages=len(known.pages),
        open=lambda: BytesIO(data),
    )


def _outcome(pages: Sequence[str], known: KnownDocument, expectation: Expectation) -> Outcome:
    if expectation.text is not None:
        return outcome_of_test_weights(pages, expectation.text)
    if not expectation.layout:
        if not all(page.strip() for page in pages):
            return Outcome(verdict=Verdict.WRONG, reason="a page came back empty")
        reason = "the layout model is test weights: the page was not compared"
        return Outcome(verdict=Verdict.ANSWERED, reason=reason)
    if len(pages) != len(known.pages):
        reason = f"found {len(pages)} pages, expected {len(known.pages)}"
        return Outcome(verdict=Verdict.WRONG, reason=reason)
    measures = [
        _measured(page, written, plain=expectation.plain)
        for page, written in zip(pages, known.pages, strict=True)
    ]
    return Outcome.of(max(measures, key=lambda measure: measure.share))


def _measured(page: str, written: Sequence[str], *, plain: bool) -> reading.Measure:
    if plain:
        return reading.characters(page, "\n".join(written), limit=LIMITS[Task.OCR])
    return reading.words(page, written, limit=PAGE_LIMIT)


def _expectation_by_text(pages: Sequence[str]) -> Expectation:
    """What is to be expected where only the answer can be looked at: test weights answer with their text."""
    if DEFAULT_TEXT in "\n".join(pages):
        return Expectation(text=DEFAULT_TEXT, layout=False)
    return READS
