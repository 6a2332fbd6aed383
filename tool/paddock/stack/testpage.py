"""A tiny page to send through a stack: dark bars on white, something to lay out and to read."""

from __future__ import annotations

import struct
import zlib

WIDTH, HEIGHT = 640, 480
_MARGIN = 60
_BARS = (range(60, 84), range(120, 140), range(170, 190), range(220, 240))  # a title and three lines


def png() -> bytes:
    """The page as an 8-bit greyscale PNG of 640 x 480 pixels."""
    white = b"\xff" * WIDTH
    bar = b"\xff" * _MARGIN + b"\x20" * (WIDTH - 2 * _MARGIN) + b"\xff" * _MARGIN
    rows = (bar if any(y in bars for bars in _BARS) else white for y in range(HEIGHT))
    pixels = b"".join(b"\x00" + row for row in rows)  # filter type 0 in front of each row
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
