"""Looks at one document, or cuts pages out of it, in a process of its own: readers of PDF and TIFF are C and C++.

usage: cutter.py look DOCUMENT RANGES       writes the number of pages to stdout
       cutter.py cut DOCUMENT RANGES FROM TO    writes a document of some of these pages to stdout
A document that is refused ends it with status 3 and the reason on stderr, in words for the client; one of which every
page is asked for, and nothing is to be cut out, with status 4.
"""

from __future__ import annotations

import io
import resource
import sys
import warnings
from typing import Any, NoReturn

import pageranges
from limits import number

REFUSED, WHOLE = 3, 4  # exit statuses
MEMORY = 1 << 30  # bytes of address space beside the document and its pixels
BYTES_PER_PIXEL = 16  # as in the pipeline API
SECONDS = 120  # of CPU
PDF_WITHIN = 1024  # bytes; what readers of PDF tolerate before "%PDF-"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Pdf:
    """A PDF by PDFium."""

    def __init__(self, path: str) -> None:
        import pypdfium2 as pdfium

        self._pdfium = pdfium
        try:
            self._document = pdfium.PdfDocument(path)
        except pdfium.PdfiumError as wrong:
            if "password" in str(wrong).lower():
                refuse("the PDF is protected by a password: remove it and send the PDF again")
            refuse(f"the PDF cannot be opened ({wrong})")

    def __len__(self) -> int:
        return len(self._document)

    def cut(self, pages: list[int]) -> bytes:
        made = self._pdfium.PdfDocument.new()
        try:
            made.import_pages(self._document, [page - 1 for page in pages])
        except self._pdfium.PdfiumError as wrong:
            refuse(f"pages {pages[0]} to {pages[-1]} of the PDF cannot be read ({wrong})")
        written = io.BytesIO()
        made.save(written)
        return written.getvalue()


class Tiff:
    """A TIFF by Pillow."""

    def __init__(self, path: str) -> None:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = number("API_MAX_PIXELS", 100_000_000) // 2  # Pillow refuses above twice as many
        self._most = number("API_MAX_PAGES", 1000)
        try:
            self._image = Image.open(path, formats=("TIFF",))
        except Exception as wrong:  # Pillow raises what it happens to meet
            refuse(f"the TIFF cannot be opened ({wrong})")

    def __len__(self) -> int:
        for page in range(1, self._most + 1):
            try:
                self._image.seek(page)
            except EOFError:
                return page
        return self._most + 1

    def cut(self, pages: list[int]) -> bytes:
        written = io.BytesIO()
        frames: list[Any] = []
        try:
            for page in pages:
                self._image.seek(page - 1)
                frames.append(self._image.copy())
            frames[0].save(written, "TIFF", save_all=True, append_images=frames[1:], compression="tiff_deflate")
        except MemoryError:
            raise
        except Exception as wrong:  # Pillow raises what it happens to meet
            refuse(f"pages {pages[0]} to {pages[-1]} of the TIFF cannot be read ({wrong})")
        return written.getvalue()


class Picture:
    """A PNG, a JPEG, or what the pipeline API will refuse: it is sent as it is."""

    def __len__(self) -> int:
        return 1

    def cut(self, pages: list[int]) -> NoReturn:
        raise AssertionError(pages)


def opened(path: str) -> Pdf | Tiff | Picture:
    with open(path, "rb") as file:  # noqa: PTH123 - small and quick
        start = file.read(PDF_WITHIN + 5)
    if start.startswith(TIFF_STARTS):
        return Tiff(path)
    return Pdf(path) if b"%PDF-" in start else Picture()


def main(action: str, path: str, ranges: str, *between: str) -> None:
    """One look, or one cut."""
    warnings.simplefilter("ignore")
    memory = MEMORY + number("API_MAX_BYTES", 100_000_000) * 3 + BYTES_PER_PIXEL * number("API_MAX_PIXELS", 100_000_000)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    document = opened(path)
    count, most = len(document), number("API_MAX_PAGES", 1000)
    if not count:
        refuse("the document has no pages")
    pages = pageranges.chosen(ranges, count)
    if len(pages) > most:
        refuse(
            f"more than {most} pages are asked for (API_MAX_PAGES): send the document in parts, "
            "or name fewer pages in pageRanges"
        )
    if action == "look":
        sys.stdout.write(str(len(pages)))
        return
    first, last = map(int, between)
    if first == 1 and last == count:
        sys.exit(WHOLE)
    sys.stdout.buffer.write(document.cut(pages[first - 1 : last]))


def refuse(reason: str) -> NoReturn:
    """End this process with words for the client."""
    sys.stderr.write(reason)
    sys.exit(REFUSED)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except pageranges.WrongRanges as wrong:
        refuse(str(wrong))
    except FileNotFoundError:
        refuse("the document is not in the volume of the jobs service any more")
    except MemoryError:
        refuse("the document needs more memory than its size allows")
