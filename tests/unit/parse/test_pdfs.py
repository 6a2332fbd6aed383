"""What PDFium says about a PDF, and in which words it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pypdf
import pytest
from pypdf.generic import (
    ArrayObject,
    BooleanObject,
    DictionaryObject,
    NameObject,
    RectangleObject,
    StreamObject,
)

from paddock.errors import UsageError
from paddock.parse.pdfs import opened
from pipeline_api import Maker

CIPHERS = pytest.mark.parametrize("algorithm", ["RC4-40", "RC4-128", "AES-128", "AES-256"])


def refusal(path: Path) -> UsageError:
    with pytest.raises(UsageError) as caught:
        opened(path)
    assert caught.value.hint
    return caught.value


def form(make: Maker, *, pages: int = 1, dynamic: bool = False, words: str = "", field: bool = False) -> Path:
    """A PDF with an XFA form; a viewer that knows XFA draws it, and no other."""
    writer = pypdf.PdfWriter(clone_from=make.pdf("plain.pdf", pages=pages))
    packet, content = StreamObject(), StreamObject()
    packet.set_data(b"<xdp:xdp xmlns:xdp='http://ns.adobe.com/xdp/'/>")
    content.set_data(f"BT /F 9 Tf ({words}) Tj ET".encode())
    writer.root_object[NameObject("/AcroForm")] = DictionaryObject(
        {NameObject("/Fields"): ArrayObject(), NameObject("/XFA"): writer._add_object(packet)}
    )
    if dynamic:
        writer.root_object[NameObject("/NeedsRendering")] = BooleanObject(True)
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    named = DictionaryObject({NameObject(key): NameObject(value) for key, value in font.items()})
    fonts = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F"): named})})
    writer.pages[0][NameObject("/Resources")] = fonts
    writer.pages[0][NameObject("/Contents")] = writer._add_object(content)
    if field:
        box = {NameObject("/Type"): NameObject("/Annot"), NameObject("/Subtype"): NameObject("/Widget")}
        where = {NameObject("/Rect"): RectangleObject((1, 1, 9, 9))}
        writer.pages[0][NameObject("/Annots")] = ArrayObject(
            [writer._add_object(DictionaryObject(box | where))]
        )
    path = make.folder / "form.pdf"
    writer.write(path)
    return path


def test_pages_are_counted(make: Maker) -> None:
    verdict = opened(make.pdf("a.pdf", pages=11))
    assert (verdict.pages, verdict.notes) == (11, ())


@CIPHERS
def test_a_password_is_asked_for_only_where_it_takes_one_to_read(make: Maker, algorithm: str) -> None:
    open_to_all = make.pdf("a.pdf", pages=2, password="", owner="secret", algorithm=algorithm)
    assert opened(open_to_all).pages == 2
    refused = refusal(make.pdf("b.pdf", pages=2, password="secret", algorithm=algorithm))
    assert refused.message == "the PDF needs a password"
    assert "without a password" in refused.hint


def test_a_table_of_contents_that_is_missing_or_wrong_is_made_again(make: Maker) -> None:
    whole = make.pdf("whole.pdf", pages=3).read_bytes()
    before, table, after = whole.partition(b"\nstartxref\n")
    wrong = make.data("wrong.pdf", before + table + b"7" + after)
    assert (opened(wrong).pages, opened(wrong).notes) == (3, ())
    missing = opened(make.data("missing.pdf", before))
    assert missing.pages == 3
    assert missing.notes == (
        "the PDF has no end marker (%%EOF): if it was cut off, its last pages are missing",
    )


def test_something_may_stand_before_and_after_it(make: Maker) -> None:
    whole = make.pdf("whole.pdf", pages=3).read_bytes()
    verdict = opened(make.data("a.pdf", b"\n\nmail\n" + whole + b"\0" * 1000))
    assert (verdict.pages, verdict.notes) == (3, ())


@pytest.mark.parametrize("keep", [9, 60, 200])
def test_one_that_is_cut_off_early(make: Maker, keep: int) -> None:
    whole = make.pdf("whole.pdf", pages=3).read_bytes()
    assert "damaged or cut off" in refusal(make.data("cut.pdf", whole[:keep])).message


def test_one_of_noise_or_without_pages(make: Maker) -> None:
    noise = make.data("noise.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 20)
    assert "the PDF is damaged or cut off" in refusal(noise).message
    assert "finds no pages in it" in refusal(make.pdf("none.pdf", pages=0)).message


@pytest.mark.parametrize("placeholder", [{"dynamic": True}, {"words": "Please get Adobe Reader"}])
def test_the_one_page_of_a_dynamic_form_is_not_the_form(make: Maker, placeholder: dict[str, Any]) -> None:
    refused = refusal(form(make, **placeholder))
    assert "XFA form" in refused.message
    assert "print it to a new PDF" in refused.hint


@pytest.mark.parametrize(
    "real",
    [{"words": "Name"}, {"pages": 3, "dynamic": True}, {"field": True, "dynamic": True, "words": "Adobe"}],
)
def test_a_form_with_pages_of_its_own_is_read(make: Maker, real: dict[str, Any]) -> None:
    assert opened(form(make, **real)).pages == real.get("pages", 1)
