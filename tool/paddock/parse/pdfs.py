"""PDFs in the judge: PDFium, with which the pipeline API reads them, says if one opens and counts its pages.

Runs in the judge only (`parse.judge`), where a PDF that crashes its reader ends nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

import pypdfium2 as pdfium

from paddock.errors import UsageError, quoted
from paddock.parse.questions import DAMAGED_HINT, Verdict

_TAIL = 4096  # bytes, in which readers look for the end marker
_NO_END = "the PDF has no end marker (%%EOF): if it was cut off, its last pages are missing"


def opened(path: Path) -> Verdict:
    """Have PDFium open a PDF. Raises UsageError with the reason where it finds no page, or no real one."""
    with path.open("rb") as file:
        try:
            document = pdfium.PdfDocument(file)
        except pdfium.PdfiumError as refused:
            raise _not_opened(refused.err_code, path) from refused
        with document:
            pages, placeholder = len(document), _is_placeholder(document)
        if placeholder:
            raise UsageError(
                "the PDF is an XFA form: its one page asks for another viewer, and the form is not on it",
                hint="open it in Adobe Reader, print it to a new PDF and parse that",
            )
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        notes = () if b"%%EOF" in file.read() else (_NO_END,)
        return Verdict(pages=pages, notes=notes)


def _is_placeholder(document: pdfium.PdfDocument) -> bool:
    """Whether all that a dynamic XFA form has is a page that asks for another viewer, as the API decides too.

    A form with pages has fields to be seen on them. PDFium calls a form "full" that says NeedsRendering;
    others name the viewer, in whatever language.
    """
    form = document.get_formtype()
    if form not in (pdfium.raw.FORMTYPE_XFA_FULL, pdfium.raw.FORMTYPE_XFA_FOREGROUND) or len(document) != 1:
        return False
    try:
        page = document[0]
        notes = range(pdfium.raw.FPDFPage_GetAnnotCount(page))
        if any(_is_field_in_view(page, number) for number in notes):
            return False
        return form == pdfium.raw.FORMTYPE_XFA_FULL or "Adobe" in page.get_textpage().get_text_bounded()
    except pdfium.PdfiumError:
        return False


def _is_field_in_view(page: pdfium.PdfPage, number: int) -> bool:
    annotation = pdfium.raw.FPDFPage_GetAnnot(page, number)
    place = pdfium.raw.FS_RECTF()
    try:
        return bool(
            pdfium.raw.FPDFAnnot_GetSubtype(annotation) == pdfium.raw.FPDF_ANNOT_WIDGET
            and pdfium.raw.FPDFAnnot_GetRect(annotation, place)
            and place.right != place.left
            and place.top != place.bottom
        )
    finally:
        pdfium.raw.FPDFPage_CloseAnnot(annotation)


def _not_opened(code: int | None, path: Path) -> UsageError:
    """Why PDFium opens no PDF, by its error code (fpdfview.h)."""
    if code == pdfium.raw.FPDF_ERR_PASSWORD:
        copy = path.with_name(f"{path.stem}-open.pdf")
        return UsageError(
            "the PDF needs a password",
            hint="save a copy without a password and parse that: "
            f"`qpdf --decrypt --password=PASSWORD {quoted(path)} {quoted(copy)}`",
        )
    if code == pdfium.raw.FPDF_ERR_SECURITY:
        return UsageError(
            "the PDF is encrypted in a way that PDFium does not know",
            hint="open it in the program that it was made for, print it to a new PDF and parse that",
        )
    return UsageError("the PDF is damaged or cut off: PDFium finds no pages in it", hint=DAMAGED_HINT)
