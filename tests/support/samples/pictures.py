"""Pictures and PDFs as scanners and programs write them, also in forms that Pillow does not write."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

SIZE = (64, 48)  # width and height of `bars`
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, SAMPLES, ROWS, STRIP_BYTES = (
    256,
    257,
    258,
    259,
    262,
    273,
    277,
    278,
    279,
)
SHORT, LONG = 3, 4


def bars(size: tuple[int, int] = SIZE) -> np.ndarray[Any, Any]:
    """A page (height, width) of uint8: white, with black bars like lines of print."""
    page = np.full((size[1], size[0]), 255, np.uint8)
    page[8:-8:8, 8:-8] = 0
    page[9:-8:8, 8:-8] = 0
    return page


def picture(kind: str, mode: str = "L", **options: Any) -> bytes:
    """The bars as PNG, JPEG or TIFF in one of Pillow's modes."""
    written = io.BytesIO()
    Image.fromarray(bars()).convert(mode).save(written, kind, **options)
    return written.getvalue()


def tiff(
    *pages: tuple[bytes, Mapping[int, Sequence[int]]], order: str = "<", big: bool = False, cut: int = 0
) -> bytes:
    """A TIFF of pages, each its strip and its tags beside size and places (BITS, PHOTOMETRIC, ...).

    `cut` bytes are missing of the last page's strip, which stands last.
    """
    form = (
        {"count": "Q", "pointer": "Q", "entry": "HHQ"}
        if big
        else {"count": "H", "pointer": "I", "entry": "HHI"}
    )
    room = struct.calcsize("=" + form["pointer"])
    head = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHH" if big else "H"), *((43, 8, 0) if big else (42,))
    )
    body = bytearray(head + bytes(room))
    link = len(head)
    strips = []
    for strip, own in pages:
        tags: dict[int, Sequence[int]] = {WIDTH: [SIZE[0]], HEIGHT: [SIZE[1]], ROWS: [SIZE[1]], SAMPLES: [1]}
        tags |= {STRIPS: [0], STRIP_BYTES: [len(strip)]} | dict(own)
        values = {
            tag: struct.pack(
                f"{order}{len(numbers)}{'I' if tag in (STRIPS, STRIP_BYTES, 513, 514) else 'H'}", *numbers
            )
            for tag, numbers in tags.items()
        }
        for tag, value in values.items():
            if len(value) > room:
                values[tag] = struct.pack(order + form["pointer"], len(body))
                body += value + bytes(len(value) % 2)
        body[link : link + room] = struct.pack(order + form["pointer"], len(body))
        body += struct.pack(order + form["count"], len(tags))
        for tag in sorted(tags):
            kind = LONG if tag in (STRIPS, STRIP_BYTES, 513, 514) else SHORT
            body += struct.pack(order + form["entry"], tag, kind, len(tags[tag]))
            if tag in (STRIPS, 513):
                strips.append((len(body), strip, tag))
            body += values[tag].ljust(room, b"\0")
        link = len(body)
        body += bytes(room)
    placed: dict[int, int] = {}
    for at, strip, _ in strips:
        if id(strip) not in placed:
            placed[id(strip)] = len(body)
            body += strip
        body[at : at + 4] = struct.pack(order + "I", placed[id(strip)])
    return bytes(body[: len(body) - cut])


def pdf(*objects: str | bytes, trailer: str = "") -> bytes:
    """A PDF of objects numbered from 1, the catalog first."""
    body, offsets = b"%PDF-1.7\n", []
    for number, written in enumerate(objects, 1):
        offsets.append(len(body))
        content = written.encode() if isinstance(written, str) else written
        body += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    table = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<</Size {size}/Root 1 0 R{trailer}>>\n"
    return body + f"{table}startxref\n{len(body)}\n%%EOF\n".encode()


def stream(content: str) -> str:
    return f"<</Length {len(content)}>>stream\n{content}\nendstream"


def page(more: str, content: str = "0 0 20 10 re f", *, catalog: str = "", form: str = "") -> bytes:
    """A PDF of one page whose dictionary has `more` (its MediaBox), with black at its lower left."""
    return pdf(
        f"<</Type/Catalog/Pages 2 0 R{catalog}>>",
        "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        f"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>{more}>>",
        stream(content),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *([form] if form else []),
    )
