"""Reads one document in a process of its own: what is in it, and its pages as pixels.

PDF, PNG, JPEG and TIFF come from strangers, and their readers are C and C++. A reader that crashes, never ends or
wants too much memory ends this process and nothing else. Sizes are read, and refused, before anything is decoded.

Asked over a pipe (documents.py): the bytes of the document; then pairs of page numbers.
"""

from __future__ import annotations

import io
import itertools
import math
import resource
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import pypdfium2 as pdfium
from PIL import (
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
)

import arrays

# PaddleX 3.7.2 renders PDF pages at 144 dots per inch, and large ones down to a tenth of that scale (utils/flags.py,
# inference/utils/pdf_rendering.py).
PDF_SCALE, LEAST_PDF_SCALE = 2.0, 0.1
PDF_HEADER_WITHIN = 1024  # bytes; what readers of PDF tolerate before "%PDF-"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PROGRAM_MEMORY = 1 << 30  # bytes of address space beside the pixels
BYTES_PER_PIXEL = 16  # RGBA as decoded, RGB, BGR, and room
ADVICE = "send it as PDF, PNG, JPEG or TIFF"
FORMATS = (JpegImagePlugin, PngImagePlugin, TiffImagePlugin)  # Pillow opens what is loaded
Size = tuple[int, int]  # width and height in pixels


class Unreadable(Exception):  # noqa: N818 - it is an answer
    """Why this document is refused; the words go to the client."""


class Pages(Protocol):
    """A document that was opened."""

    kind: str
    sizes: list[Size]

    def page(self, number: int) -> np.ndarray[Any, Any]:
        """Page `number` (from 0) as (height, width, BGR) of uint8."""


def kind_of(data: bytes) -> str:
    """The format of a document by its first bytes: pdf, png, jpeg or tiff."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(TIFF_STARTS):
        return "tiff"
    if b"%PDF-" in data[:PDF_HEADER_WITHIN]:
        return "pdf"
    found = "nothing" if not data else f"a file that begins with {data[:8].hex(' ')}"
    raise Unreadable(f"found {found}, expected a PDF, PNG, JPEG or TIFF: {ADVICE}")


def open_document(data: bytes, *, max_pages: int, max_pixels: int) -> Pages:
    """Look at the headers of a document; raises Unreadable for what is damaged, or larger than allowed."""
    kind = kind_of(data)
    opened: Pages = Pdf(data, max_pages, max_pixels) if kind == "pdf" else Picture(data, kind, max_pages)
    for number, (width, height) in enumerate(opened.sizes, 1):
        if width * height > max_pixels:
            where = f"page {number}: " if len(opened.sizes) > 1 else ""
            raise Unreadable(
                f"{where}found {width} x {height} = {width * height} pixels, "
                f"expected at most {max_pixels} (API_MAX_PIXELS)"
            )
    return opened


def too_many(count: int, most: int) -> Unreadable:
    return Unreadable(f"found {count} pages, expected at most {most} (API_MAX_PAGES): send it in parts")


class Pdf:
    """A PDF by PDFium."""

    kind = "pdf"

    def __init__(self, data: bytes, max_pages: int, max_pixels: int) -> None:
        try:
            self._document = pdfium.PdfDocument(data)
        except pdfium.PdfiumError as wrong:
            if "password" in str(wrong).lower():
                raise Unreadable("the PDF is protected by a password: remove it and send the PDF again") from wrong
            raise Unreadable(f"the PDF cannot be opened ({wrong})") from wrong
        self._document.init_forms()
        count = len(self._document)
        if not count:
            raise Unreadable("the PDF has no pages")
        if count > max_pages:
            raise too_many(count, max_pages)
        self._scales = [self._scale(number, max_pixels) for number in range(count)]
        self.sizes = [self._size(number) for number in range(count)]

    def _scale(self, number: int, max_pixels: int) -> float:
        try:
            width, height = self._document.get_page_size(number)
        except pdfium.PdfiumError as wrong:
            raise Unreadable(f"page {number + 1} cannot be read ({wrong})") from wrong
        if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
            raise Unreadable(f"page {number + 1}: found a size of {width} x {height} points, expected one above 0")
        scale = PDF_SCALE
        while (pixels := math.ceil(width * scale) * math.ceil(height * scale)) > max_pixels:
            scale *= min(0.999, math.sqrt(max_pixels / pixels))
            if scale < LEAST_PDF_SCALE:
                raise Unreadable(
                    f"page {number + 1}: found {width:.0f} x {height:.0f} points, which is more than "
                    f"{max_pixels} pixels (API_MAX_PIXELS) at any scale that can be read"
                )
        return scale

    def _size(self, number: int) -> Size:
        width, height = self._document.get_page_size(number)
        return math.ceil(width * self._scales[number]), math.ceil(height * self._scales[number])

    def page(self, number: int) -> np.ndarray[Any, Any]:
        try:
            page = self._document[number]
            try:
                return np.ascontiguousarray(page.render(scale=self._scales[number]).to_numpy())
            finally:
                page.close()
        except pdfium.PdfiumError as wrong:
            raise Unreadable(f"page {number + 1} cannot be read ({wrong})") from wrong


class Picture:
    """A picture by Pillow; a TIFF may have several pages."""

    def __init__(self, data: bytes, kind: str, max_pages: int) -> None:
        self.kind = kind
        Image.MAX_IMAGE_PIXELS = None  # sizes are looked at here
        try:
            self._image = Image.open(io.BytesIO(data), formats=(kind.upper(),))
            self.sizes = list(self._sizes(max_pages))
        except Unreadable:
            raise
        except MemoryError:
            raise
        except UnidentifiedImageError as wrong:  # its message is about our buffer
            raise Unreadable(f"the {kind.upper()} is damaged at its beginning") from wrong
        except Exception as wrong:  # Pillow raises what it happens to meet: OSError, SyntaxError, struct.error ...
            raise Unreadable(f"the {kind.upper()} cannot be opened ({wrong})") from wrong

    def _sizes(self, max_pages: int) -> Iterator[Size]:
        yield self._image.size
        for number in itertools.count(1) if self.kind == "tiff" else ():
            try:
                self._image.seek(number)
            except EOFError:
                return
            if number == max_pages:
                raise too_many(number + 1, max_pages)
            yield self._image.size

    def page(self, number: int) -> np.ndarray[Any, Any]:
        try:
            if self.kind == "tiff":
                self._image.seek(number)
            self._image.load()
            image = ImageOps.exif_transpose(self._image)
            return np.ascontiguousarray(np.asarray(on_white(image))[..., ::-1])
        except MemoryError:
            raise
        except Exception as wrong:
            where = f"page {number + 1} of the" if len(self.sizes) > 1 else "the"
            raise Unreadable(f"{where} {self.kind.upper()} cannot be read to its end ({wrong})") from wrong


def on_white(image: Image.Image) -> Image.Image:
    """An RGB picture of any mode: transparent places turn white, 16 bits and real numbers are scaled to 8 bits."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        values = np.asarray(image).astype(np.float64)
        least, most = (0.0, 65535.0) if image.mode.startswith("I") else (float(values.min()), float(values.max()))
        if image.mode == "I" and (values.max() > most or values.min() < least):
            least, most = float(values.min()), float(values.max())
        scaled = (values - least) * (255.0 / max(most - least, 1e-9))
        return Image.fromarray(np.clip(np.nan_to_num(scaled) + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def serve(pipe: Connection, max_pages: int, max_pixels: int) -> None:
    """Answer questions about the one document that comes through the pipe, until the pipe is closed."""
    warnings.simplefilter("ignore")
    memory = PROGRAM_MEMORY + BYTES_PER_PIXEL * max_pixels
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        opened = open_document(pipe.recv_bytes(), max_pages=max_pages, max_pixels=max_pixels)
        pipe.send((opened.kind, opened.sizes))
        while True:
            first, last = pipe.recv()
            for number in range(first, last):
                arrays.send(pipe, [opened.page(number)])
    except Unreadable as refused:
        pipe.send(str(refused))
    except MemoryError:
        pipe.send("it needs more memory than its size allows")
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
