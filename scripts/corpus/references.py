"""What PDFium and Pillow, asked directly, say of a file: its pages, their words, sizes and looks.

Written against the libraries alone, without any code of paddock or of its images, because both are judged by
it. A file is read in a process of its own, which may crash, hang or want too much memory.
"""

from __future__ import annotations

import logging
import resource
import warnings
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pi_heif
import pypdf
import pypdfium2
import pypdfium2.raw
from PIL import Image, ImageOps

from looks import Look, look_at

PDF_SCALE = 2  # pixels for each point: PDFs go to the models at 144 dots per inch
MEMORY = 3 << 30  # bytes of address space; a page that takes more is a bomb
WITHIN = 120.0  # seconds for one file
MOST_PIXELS = 178_956_970  # of one page; more is not decoded, and is refused by `paddock parse` too
FLAT = 0.05  # points
INVISIBLE = 3  # text rendering mode of PDF: neither filled nor stroked

Box = tuple[float, float, float, float]  # left, bottom, right and top in points


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """One page; a page of a PDF is drawn at PDF_SCALE. `words` are those that PDFium sees on it."""

    look: Look
    words: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A file: why it cannot be opened (empty: it can), how many pages it has, and its first pages."""

    problem: str = ""
    count: int = 0
    pages: tuple[Page | str, ...] = ()  # a page, or why it cannot be read
    placeholder: bool = False  # one page, which says that a dynamic form needs another viewer

    @property
    def whole(self) -> bool:
        """Whether the file opens, and every page that was looked at can be read."""
        return not self.problem and not any(isinstance(page, str) for page in self.pages)


def reference(context: ForkServerContext, path: Path, most: int) -> Reference:
    """The file at `path` and its first `most` pages."""
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, path, most), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(WITHIN):
            return Reference(problem=f"no answer within {WITHIN:.0f} s")
        answer = ours.recv()
        return answer if isinstance(answer, Reference) else Reference(problem="no answer")
    except EOFError:
        return Reference(problem="the process ended")
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def _answer(pipe: Connection, path: Path, most: int) -> None:
    warnings.simplefilter("ignore")  # the libraries tell what they repair
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        pipe.send(read(path, most))
    except Exception as wrong:  # the libraries raise what they happen to meet
        pipe.send(Reference(problem=_said(wrong)))


def read(path: Path, most: int) -> Reference:
    """The file in this process. Raises whatever the libraries raise for a file that cannot be opened."""
    if path.suffix.lower() == ".pdf" or b"%PDF-" in path.read_bytes()[:1024]:
        return _pdf(path, most)
    return _picture(path, most)


def _said(wrong: Exception) -> str:
    return f"{type(wrong).__name__}: {wrong}"


# --- PDF ----------------------------------------------------------------------------------------------------


def _pdf(path: Path, most: int) -> Reference:
    document = pypdfium2.PdfDocument(path)
    document.init_forms()
    count = len(document)
    units = _units(path, min(count, most))
    pages = tuple(_pdf_page(document, number, unit) for number, unit in enumerate(units))
    placeholder = count == 1 and isinstance(pages[0], Page) and _asks_to_wait(document)
    return Reference(count=count, pages=pages, placeholder=placeholder)


def _asks_to_wait(document: pypdfium2.PdfDocument) -> bool:
    """Whether the first page is the one that Adobe's programs put before a dynamic XFA form."""
    return "Please wait..." in document[0].get_textpage().get_text_bounded()


def _units(path: Path, count: int) -> list[float]:
    """The UserUnit of each page, which PDFium does not tell: 1 where pypdf cannot read the file either."""
    try:
        pages = pypdf.PdfReader(path).pages
        return [float(pages[number].user_unit) for number in range(count)]
    except Exception:  # of many kinds on damaged files
        return [1.0] * count


def _pdf_page(document: pypdfium2.PdfDocument, number: int, unit: float) -> Page | str:
    try:
        page = document[number]
        width, height = page.get_size()
        scale = PDF_SCALE * unit
        if not 0 < width * height * scale * scale < MOST_PIXELS:
            return f"a page of {width:.0f} x {height:.0f} points"
        return Page(look=look_at(page.render(scale=scale).to_pil()), words=_visible_words(page))
    except Exception as wrong:
        return _said(wrong)


def _visible_words(page: pypdfium2.PdfPage) -> int:
    """Words with a character that is painted, and within what is shown of the page."""
    text, box = page.get_textpage(), page.get_cropbox()
    count, inside = 0, False
    for index in range(text.count_chars()):
        character = chr(pypdfium2.raw.FPDFText_GetUnicode(text, index))
        drawn = character.isalnum() and _painted(text, index) and _within(box, text.get_charbox(index))
        count += drawn and not inside
        inside = drawn or (inside and not character.isspace())
    return count


def _painted(text: pypdfium2.PdfTextPage, index: int) -> bool:
    """A letter of an embedded font may have no outline: then its box has no height, and nobody sees it."""
    handle = pypdfium2.raw.FPDFText_GetTextObject(text, index)
    if not handle or pypdfium2.raw.FPDFTextObj_GetTextRenderMode(handle) == INVISIBLE:
        return False
    embedded = pypdfium2.raw.FPDFFont_GetIsEmbedded(pypdfium2.raw.FPDFTextObj_GetFont(handle))
    _, bottom, _, top = text.get_charbox(index)
    return bool(embedded != 1 or top - bottom > FLAT)


def _within(page: Box, character: Box) -> bool:
    left, bottom, right, top = character
    return page[0] < (left + right) / 2 < page[2] and page[1] < (bottom + top) / 2 < page[3]


# --- pictures -----------------------------------------------------------------------------------------------


def _picture(path: Path, most: int) -> Reference:
    pi_heif.register_heif_opener()
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(path) as image:
        # Of moving pictures, thumbnails and previews the first picture is the document.
        count = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        return Reference(
            count=count, pages=tuple(_frame(image, number) for number in range(min(count, most)))
        )


def _frame(image: Image.Image, number: int) -> Page | str:
    try:
        if image.format != "HEIF":  # opened at its main picture, which need not be the first
            image.seek(number)
        if image.width * image.height > MOST_PIXELS:
            return f"a picture of {image.width} x {image.height} pixels"
        image.load()
        return Page(look=look_at(_seen(ImageOps.exif_transpose(image))))
    except Exception as wrong:
        return _said(wrong)


def _seen(image: Image.Image) -> Image.Image:
    """As a person sees it on white paper; values beyond eight bits from the darkest to the lightest."""
    if image.mode[0] in "IF":
        values = np.nan_to_num(np.asarray(image, np.float64))
        least, most = values.min(), values.max()
        return Image.fromarray(((values - least) * (255 / ((most - least) or 1))).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image)
        image = paper
    return image.convert("RGB")
