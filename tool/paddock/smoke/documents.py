"""The check of a pipeline API: an image and a PDF of ours, compared with what stands on them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from typing import Any

from paddock.errors import PaddockError
from paddock.matrix.records import Task
from paddock.parse.client import Client
from paddock.parse.document import Document, Kind
from paddock.parse.wire import ParseOptions
from paddock.report import Reporter
from paddock.smoke import reading
from paddock.smoke.known import file, known_answers
from paddock.smoke.verdicts import LIMITS, READS, Check, Expectation, Side, Verdict, of_test_weights
from paddock.weights import markers

PAGE_LIMIT = 0.10

# --- the pipeline API, from here ----------------------------------------------------------------------------


def documents(client: Client, expectation: Expectation | None, report: Reporter) -> Iterator[Check]:
    plain = expectation is not None and expectation.plain
    for name, known in known_answers(plain=plain)["documents"].items():
        data = file(known["file"])
        kind = Kind.PDF if known["file"].endswith(".pdf") else Kind.PNG
        document = Document(
            name=known["file"],
            kind=kind,
            size=len(data),
            pages=len(known["pages"]),
            open=partial(BytesIO, data),
        )
        report.say(f"{Side.API}: {name}, {len(known['pages'])} page(s)")
        yield _parsed(client, name, document, known["pages"], expectation)


def _parsed(
    client: Client,
    name: str,
    document: Document,
    written: Sequence[Sequence[str]],
    expectation: Expectation | None,
) -> Check:
    began = time.monotonic()
    try:
        pages = [page.markdown for page in client.parse(document, ParseOptions(pictures=False)).pages]
    except PaddockError as failure:
        return Check(
            side=Side.API,
            name=name,
            verdict=Verdict.FAILED,
            seconds=time.monotonic() - began,
            reason=failure.message,
        )
    check = partial(
        Check, side=Side.API, name=name, seconds=time.monotonic() - began, answer="\n\n".join(pages).strip()
    )
    wanted = expectation or _told_by_text(pages)
    if wanted.text is not None:
        return check(**of_test_weights(pages, wanted.text))
    if not wanted.layout:
        reason = "the layout model is test weights: the page was not compared"
        verdict = Verdict.ANSWERED if all(page.strip() for page in pages) else Verdict.WRONG
        return check(
            verdict=verdict, reason=reason if verdict is Verdict.ANSWERED else "a page came back empty"
        )
    return check(**_of_pages(pages, written, plain=wanted.plain))


def _of_pages(pages: Sequence[str], written: Sequence[Sequence[str]], *, plain: bool) -> dict[str, Any]:
    if len(pages) != len(written):
        return {"verdict": Verdict.WRONG, "reason": f"found {len(pages)} pages, expected {len(written)}"}
    measures = [
        reading.characters(page, "\n".join(expected), limit=LIMITS[Task.OCR])
        if plain
        else reading.words(page, expected, limit=PAGE_LIMIT)
        for page, expected in zip(pages, written, strict=True)
    ]
    worst = max(measures, key=lambda measure: measure.share)
    if worst.ok:
        return {"verdict": Verdict.PASSED, "measure": worst}
    return {"verdict": Verdict.WRONG, "measure": worst, "reason": str(worst)}


def _told_by_text(pages: Sequence[str]) -> Expectation:
    """Without a look at the weights, the usual text of test weights tells them."""
    return (
        Expectation(text=markers.DEFAULT_TEXT, layout=False)
        if markers.DEFAULT_TEXT in "\n".join(pages)
        else READS
    )
