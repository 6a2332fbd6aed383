"""Reads a PDF with PDFium: its pages by their printed size, and why one cannot be read."""

from __future__ import annotations

import ctypes
import io
import math
import re
import zlib
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from reading import NO_SIZE, Size, Unreadable, bound_of, too_many

# PaddleX 3.7.2 renders PDF pages at 144 dots per inch, and large ones down to a tenth of that scale (utils/flags.py,
# inference/utils/pdf_rendering.py).
SCALE, LEAST_SCALE = 2.0, 0.1  # pixels for each point
STREAM = re.compile(rb"/ObjStm\b[^>]*>?[^>]*>>\s*stream\r?\n")
MOST_INFLATED = 1 << 26  # bytes of object streams that are looked through
NEARLY_WHITE = 250  # of 255
SMALL = 200.0  # points; of a page that may have a UserUnit where an encrypted file hides it
PRINT_AGAIN = "open it in a viewer that shows it, print it to PDF and send that"
CAUSES = {
    pdfium_c.FPDF_ERR_PASSWORD: "the PDF needs a password: remove it with "
    "`qpdf --decrypt --password=PASSWORD in.pdf out.pdf` and send out.pdf",
    pdfium_c.FPDF_ERR_SECURITY: "the PDF is encrypted in a way that PDFium cannot read: remove the encryption with "
    "`qpdf --decrypt in.pdf out.pdf` and send out.pdf",
}


class Pdf:
    """A PDF by PDFium."""

    kind = "pdf"

    def __init__(self, data: bytes, max_pages: int, max_pixels: int) -> None:
        if is_cut_off(data):
            raise Unreadable("the PDF was cut off: it ends within an object. Send the whole file")
        try:
            self._document = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as wrong:
            damaged = f"the PDF cannot be opened, it is damaged ({wrong}): {PRINT_AGAIN}"
            raise Unreadable(CAUSES.get(wrong.err_code, damaged)) from wrong
        self._document.init_forms()
        count = len(self._document)
        if not count:
            raise Unreadable(f"the PDF has no pages that can be found: {PRINT_AGAIN}")
        if count > max_pages:
            raise too_many(count, max_pages)
        if is_placeholder(self._document):
            raise Unreadable(
                "the PDF is a dynamic XFA form: its only page is a note that Adobe Reader is needed. Open it there, "
                "print it to PDF and send that"
            )
        self._units = Units(self._document, data)
        self.sizes: list[Size] = []
        self.bounds: list[int] = []
        self.refused: dict[int, Unreadable] = {}
        self._scales: list[float] = []
        for number in range(count):
            scale, size, bound = 0.0, NO_SIZE, 0
            try:
                scale, size, bound = self._measured(number, max_pixels)
            except Unreadable as wrong:
                self.refused[number] = wrong
            self._scales.append(scale)
            self.sizes.append(size)
            self.bounds.append(bound)

    def _measured(self, number: int, max_pixels: int) -> tuple[float, Size, int]:
        """Pixels for each unit of a page, its size in pixels and the bound of its pieces."""
        try:
            width, height = self._in_units(number)
        except pdfium.PdfiumError as wrong:
            raise unreadable_page(number, wrong) from wrong
        if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
            raise Unreadable(
                f"page {number + 1}: found a MediaBox of {width} x {height} points, expected one above 0: {PRINT_AGAIN}"
            )
        unit = self._units.of(number, max(width, height))
        scale = SCALE
        while (pixels := math.ceil(width * unit * scale) * math.ceil(height * unit * scale)) > max_pixels:
            scale *= min(0.999, math.sqrt(max_pixels / pixels))
            if scale < LEAST_SCALE:
                raise Unreadable(
                    f"page {number + 1}: found a size of {width * unit:.0f} x {height * unit:.0f} points, which is "
                    f"more than {max_pixels} pixels (API_MAX_PIXELS) at any scale that can be read: print it to PDF "
                    "on a smaller page and send that"
                )
        size = math.ceil(width * unit * scale), math.ceil(height * unit * scale)
        return scale * unit, size, bound_of(size, scale)

    def _in_units(self, number: int) -> tuple[float, float]:
        """Width and height of what is shown of a page, before its UserUnit.

        A CropBox that has nothing in common with the MediaBox shows nothing: it is left out (ISO 32000-1, 14.11.2).
        """
        width, height = self._document.get_page_size(number)
        if width <= 0 or height <= 0:
            page = self._document[number]
            try:
                page.set_cropbox(*page.get_mediabox())
            finally:
                page.close()
            width, height = self._document.get_page_size(number)
        return width, height

    def page(self, number: int) -> np.ndarray[Any, Any]:
        if number in self.refused:
            raise self.refused[number]
        try:
            page = self._document[number]
            try:
                pixels = np.ascontiguousarray(page.render(scale=self._scales[number]).to_numpy())
                lost = pixels.min() == pixels.max() and has_painted_text(page)
            finally:
                page.close()
        except pdfium.PdfiumError as wrong:
            raise unreadable_page(number, wrong) from wrong
        if lost:
            raise Unreadable(
                f"page {number + 1} of the PDF has text, but no font in the file or here draws it: open it on a "
                "computer that shows it, print it to PDF and send that"
            )
        return pixels


class Units:
    """The UserUnit of pages: a page is printed so many times its size. PDFium does not know it."""

    def __init__(self, document: pdfium.PdfDocument, data: bytes) -> None:
        self._document = document
        self._hidden = b"/Encrypt" in data and b"/ObjStm" in data
        self._named = names_user_unit(data)

    def of(self, number: int, longest: float) -> float:
        """The unit of page `number`, whose longer side has `longest` units; 1 is usual.

        PDFium writes the page alone, without object streams, and there it can be read.
        """
        if not (self._named or (self._hidden and longest < SMALL)):
            return 1.0
        written = io.BytesIO()
        try:
            with pdfium.PdfDocument.new() as alone:
                alone.import_pages(self._document, [number])
                alone.save(written)
        except pdfium.PdfiumError:
            return 1.0
        found = re.search(rb"/UserUnit\s+([0-9]*\.?[0-9]+)", written.getvalue())
        return float(found[1]) or 1.0 if found else 1.0


def is_cut_off(data: bytes) -> bool:
    """Whether a PDF ends within an object: its last one neither ends nor is followed by what ends a file."""
    last = data.rfind(b" obj")
    return last >= 0 and all(data.find(mark, last) < 0 for mark in (b"endobj", b"startxref", b"%%EOF"))


def names_user_unit(data: bytes) -> bool:
    """Whether a PDF says UserUnit anywhere, in plain or in a compressed object stream."""
    if b"/UserUnit" in data:
        return True
    left = MOST_INFLATED
    for found in STREAM.finditer(data):
        end = data.find(b"endstream", found.end())
        try:
            inflated = zlib.decompressobj().decompress(memoryview(data)[found.end() : end], left)
        except zlib.error:
            continue
        left -= len(inflated)
        if b"/UserUnit" in inflated:
            return True
        if left <= 0:
            break
    return False


def is_placeholder(document: pdfium.PdfDocument) -> bool:
    """Whether all that there is of a dynamic XFA form is the page that asks for another viewer.

    A form that has pages has fields to be seen on them. NeedsRendering, which PDFium tells as "full", marks dynamic
    forms; others name the viewer on their page, in any language.
    """
    form = document.get_formtype()
    if form not in (pdfium_c.FORMTYPE_XFA_FULL, pdfium_c.FORMTYPE_XFA_FOREGROUND) or len(document) != 1:
        return False
    try:
        page = document[0]
        try:
            if has_field(page):
                return False
            return form == pdfium_c.FORMTYPE_XFA_FULL or "Adobe" in page.get_textpage().get_text_bounded()
        finally:
            page.close()
    except pdfium.PdfiumError:
        return False


def has_painted_text(page: pdfium.PdfPage) -> bool:
    """Whether a page has text in view that is to be seen: neither invisible, as that of scans is, nor white."""
    if not page.get_textpage().get_text_bounded().strip():
        return False
    return any(is_painted(item) for item in page.get_objects(filter=[pdfium_c.FPDF_PAGEOBJ_TEXT]))


def is_painted(text: pdfium.PdfObject) -> bool:
    if pdfium_c.FPDFTextObj_GetTextRenderMode(text) == pdfium_c.FPDF_TEXTRENDERMODE_INVISIBLE:
        return False
    red, green, blue, alpha = (ctypes.c_uint(0) for _ in range(4))
    pdfium_c.FPDFPageObj_GetFillColor(text, red, green, blue, alpha)
    return bool(alpha.value and min(red.value, green.value, blue.value) < NEARLY_WHITE)


def has_field(page: pdfium.PdfPage) -> bool:
    """Whether a field of a form can be seen on a page."""
    place = pdfium_c.FS_RECTF()
    for number in range(pdfium_c.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium_c.FPDFPage_GetAnnot(page, number)
        if not annotation:
            continue
        is_field = pdfium_c.FPDFAnnot_GetSubtype(annotation) == pdfium_c.FPDF_ANNOT_WIDGET
        has_place = (
            pdfium_c.FPDFAnnot_GetRect(annotation, place) and place.right != place.left and place.top != place.bottom
        )
        pdfium_c.FPDFPage_CloseAnnot(annotation)
        if is_field and has_place:
            return True
    return False


def unreadable_page(number: int, wrong: Exception) -> Unreadable:
    return Unreadable(f"page {number + 1} of the PDF cannot be read, it is damaged ({wrong}): {PRINT_AGAIN}")
