"""Reads one document in a process of its own: what is in it, and its pages as pixels.

PDF, PNG, JPEG and TIFF come from strangers, and their readers are C and C++. A reader that crashes, never ends or
wants too much memory ends this process and nothing else. Sizes are read, and refused, before anything is decoded.

Asked over a pipe (documents.py): the bytes of the document, then numbers of pages. A page that cannot be read is
answered with the reason, and the others go on.
"""

from __future__ import annotations

import resource
import warnings
from multiprocessing.connection import Connection

import arrays
from pdfs import Pdf
from pictures import Picture
from reading import Pages, Unreadable

PDF_HEADER_WITHIN = 1024  # bytes; what readers of PDF tolerate before "%PDF-"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PROGRAM_MEMORY = 1 << 30  # bytes of address space beside the pixels
BYTES_PER_PIXEL = 16  # RGBA as decoded, RGB, BGR, and room
TOO_MUCH = "needs more memory than its size allows: send it at a lower resolution"
ADVICE = "send it as PDF, PNG, JPEG or TIFF"


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
    """Look at the headers of a document.

    Raises Unreadable for what is damaged or has too many pages, and where no page can be read or all are too large;
    the document holds the reason for each other page.
    """
    kind = kind_of(data)
    opened: Pages = Pdf(data, max_pages, max_pixels) if kind == "pdf" else Picture(data, kind, max_pages, max_pixels)
    if len(opened.refused) == len(opened.sizes):
        raise opened.refused[0]
    return opened


def serve(pipe: Connection, max_pages: int, max_pixels: int) -> None:
    """Answer questions about the one document that comes through the pipe, until the pipe is closed."""
    warnings.simplefilter("ignore")
    memory = PROGRAM_MEMORY + BYTES_PER_PIXEL * max_pixels
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        opened = open_document(pipe.recv_bytes(), max_pages=max_pages, max_pixels=max_pixels)
        pipe.send((opened.kind, opened.sizes, opened.bounds))
        while True:
            number = pipe.recv()
            try:
                pixels = opened.page(number)
            except Unreadable as refused:
                pipe.send(str(refused))
            except MemoryError:
                pipe.send(f"page {number + 1} {TOO_MUCH}")
            else:
                arrays.send(pipe, [pixels])
    except Unreadable as refused:
        pipe.send(str(refused))
    except MemoryError:
        pipe.send(f"the document {TOO_MUCH}")
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
