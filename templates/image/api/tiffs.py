"""The pages of a TIFF by its directories: where they are, how they are compressed, what cannot be read and why.

Pillow goes through a TIFF from its first page on, and stops at one that it cannot read (TIFF 6.0, section 2; BigTIFF).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reading import Unreadable

COMPRESSIONS = {
    1: "nothing",
    2: "CCITT RLE",
    3: "CCITT Group 3",
    4: "CCITT Group 4",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "Deflate",
    9: "JBIG",
    10: "JBIG",
    32773: "PackBits",
    32809: "ThunderScan",
    32946: "Deflate",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGI LogL",
    34677: "SGI LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}
BY_LIBTIFF = {34661, 34887}  # what libtiff's own programs read, and Pillow does not
PILLOW = {1, 2, 3, 4, 5, 6, 7, 8, 32773, 32809, 32946, 34676, 34677, 34925, 50000, 50001}
FILLING = {2, 3, 4, 6, 7}  # their decoders make up what is missing, without a word
TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of the numbers that are looked at
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, STRIP_BYTES, TILES, TILE_BYTES, FORMAT, SUBSAMPLING = (
    256, 257, 258, 259, 262, 273, 279, 324, 325, 339, 530
)  # fmt: skip
LOOKED_AT = {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, STRIP_BYTES, TILES, TILE_BYTES, FORMAT, SUBSAMPLING}
YCBCR = 6  # a PhotometricInterpretation
UNCOMPRESSED = 1  # which Pillow reads itself, as if all colours were there; libtiff reads the others
MOST_NUMBERS = 1 << 20  # of one tag


@dataclass(frozen=True)
class Form:
    """How a TIFF is written."""

    order: Literal["<", ">"]
    big: bool

    @property
    def pointer(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def entry(self) -> str:
        return self.order + ("HHQ8s" if self.big else "HHI4s")

    @property
    def first(self) -> int:
        """Where the offset of the first directory stands."""
        return 8 if self.big else 4


@dataclass(frozen=True)
class Directory:
    """A page: its tags that matter here."""

    form: Form
    offset: int
    tags: dict[int, tuple[int, ...]]
    damage: str = ""  # why there is nothing more after the pages before

    @property
    def compression(self) -> int:
        return self._tag(COMPRESSION, 1)

    @property
    def photometric(self) -> int:
        return self._tag(PHOTOMETRIC, 1)

    @property
    def named(self) -> str:
        """The compression in words."""
        return COMPRESSIONS.get(self.compression, f"the unknown method {self.compression}")

    @property
    def described(self) -> str:
        """What sets this page apart."""
        bits = ", ".join(map(str, self.tags.get(BITS, (1,))))
        form = {2: " (signed)", 3: " (real numbers)"}.get(self._tag(FORMAT, 1), "")
        return f"it has {bits} bits for each colour{form}, PhotometricInterpretation {self.photometric}"

    @property
    def advice(self) -> str:
        """A next step for who has the libtiff or ImageMagick programs."""
        if self.compression in BY_LIBTIFF:
            return "convert it with `tiffcp -c lzw in.tif out.tif` and send out.tif"
        return "convert it with `convert in.tif -depth 8 -compress lzw out.tif` (ImageMagick) and send out.tif"

    def _tag(self, tag: int, default: int) -> int:
        return self.tags.get(tag, (default,))[0]

    def missing(self, length: int) -> int:
        """Bytes of its pixels that would lie behind the end of a file of that length."""
        for places, sizes in ((STRIPS, STRIP_BYTES), (TILES, TILE_BYTES)):
            ends = [at + size for at, size in zip(self.tags.get(places, ()), self.tags.get(sizes, ()))]  # noqa: B905
            if ends:
                return max(0, max(ends) - length)
        return 0

    def become_first(self, file: io.BytesIO) -> None:
        """Have a reader of the file find this page, and that it is the first."""
        file.seek(self.form.first)
        file.write(struct.pack(self.form.pointer, self.offset))

    def require_readable(self, where: str, length: int) -> None:
        """Raise Unreadable for what Pillow would not read, or would read wrongly, from a file of that length."""
        if self.damage:
            raise Unreadable(f"{where}: {self.damage}. Send the whole file")
        if self.compression in FILLING and (missing := self.missing(length)):
            raise Unreadable(f"{where} was cut off: {missing} bytes of it are missing. Send the whole file")
        if self.form.big and self.form.order == ">":
            raise Unreadable(
                f"{where} is a BigTIFF whose bytes have the order of other processors: convert it with "
                "`tiffcp -L in.tif out.tif` and send out.tif"
            )
        if self.compression not in PILLOW:
            raise Unreadable(f"{where} is compressed with {self.named}: {self.advice}")
        subsampling = self.tags.get(SUBSAMPLING, (2, 2))
        if self.photometric == YCBCR and self.compression == UNCOMPRESSED and subsampling != (1, 1):
            raise Unreadable(
                f"{where} has YCbCr colours of which only some are stored: convert it with "
                "`tiff2rgba -c lzw in.tif out.tif` and send out.tif"
            )


def directories(data: bytes, most: int) -> Iterator[Directory]:
    """The pages of a TIFF, at most one more than `most`; where the chain of pages breaks, the last one says so."""
    form = Form(order="<" if data.startswith(b"II") else ">", big=43 in data[2:4])
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(form.pointer, data, form.first)
        while len(seen) <= most:
            if at in seen:
                return  # a circle: every page of it was seen
            directory, following = read(form, data, at)
            seen.add(at)
            yield directory
            if not following:
                return
            at = following
    except struct.error:
        damage = f"the TIFF was cut off or is damaged: nothing can be found behind {len(seen)} pages"
        yield Directory(form=form, offset=0, tags={}, damage=damage)


def read(form: Form, data: bytes, at: int) -> tuple[Directory, int]:
    """The directory at an offset, and the offset of the following one (0: none); raises struct.error at damage."""
    size, entry_size = struct.calcsize(form.count), struct.calcsize(form.entry)
    (count,) = struct.unpack_from(form.count, data, at)
    if at == 0 or count > MOST_NUMBERS:
        raise struct.error
    tags = {}
    for number in range(count):
        tag, kind, length, value = struct.unpack_from(form.entry, data, at + size + number * entry_size)
        if tag not in LOOKED_AT or kind not in TYPES or not 0 < length <= MOST_NUMBERS:
            continue
        numbers = f"{form.order}{length}{TYPES[kind]}"
        if struct.calcsize(numbers) > len(value):
            (place,) = struct.unpack(form.pointer, value)
            if place + struct.calcsize(numbers) <= len(data):
                tags[tag] = struct.unpack_from(numbers, data, place)
        else:
            tags[tag] = struct.unpack_from(numbers, value)
    after = at + size + count * entry_size
    end = data[after : after + struct.calcsize(form.pointer)]
    following = struct.unpack(form.pointer, end)[0] if len(end) == struct.calcsize(form.pointer) else 0
    return Directory(form=form, offset=at, tags=tags), following
