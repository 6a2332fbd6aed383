"""Reads PNG, JPEG and TIFF with Pillow: to their end, on white, and with 8 bits for each colour."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from reading import NO_SIZE, Size, Unreadable, bound_of, too_many
from tiffs import Directory, directories

FORMATS = (JpegImagePlugin, PngImagePlugin, TiffImagePlugin)  # Pillow opens what is loaded
SURE_DPI = 150.0  # what says less is often a camera or a screen, which do not know the size of print
ZEROS = 64  # bytes; a file with more at its end was never written to its end
WHITE_IS_ZERO = 0  # TIFF's PhotometricInterpretation
DEPTHS = (1.0, 255.0, 65535.0)  # of real numbers
ROWS = 256  # scaled at once, so that little memory is held


class Picture:
    """A PNG or JPEG, or a TIFF of several pages."""

    def __init__(self, data: bytes, kind: str, max_pages: int, max_pixels: int) -> None:
        self.kind = kind
        self._name = kind.upper()
        self._data = io.BytesIO(data)
        self._length = len(data)
        Image.MAX_IMAGE_PIXELS = None  # sizes are looked at here
        if kind == "jpeg" and is_unwritten(data):
            raise Unreadable("the JPEG was cut off: it ends in zeros, without its end marker. Send the whole file")
        self._directories: list[Directory | None] = list(directories(data, max_pages)) if kind == "tiff" else [None]
        if len(self._directories) > max_pages:
            raise too_many(len(self._directories), max_pages)
        self.sizes: list[Size] = []
        self.bounds: list[int] = []
        self.refused: dict[int, Unreadable] = {}
        for number in range(len(self._directories)):
            size, bound = NO_SIZE, 0
            try:
                size, bound = self._measured(number, max_pixels)
            except Unreadable as wrong:
                self.refused[number] = wrong
            self.sizes.append(size)
            self.bounds.append(bound)

    def _measured(self, number: int, max_pixels: int) -> tuple[Size, int]:
        image = self._opened(number)
        width, height = image.size
        if width * height > max_pixels:
            raise Unreadable(
                f"{self._where(number)}: found {width} x {height} = {width * height} pixels, expected at most "
                f"{max_pixels} (API_MAX_PIXELS): send it at a lower resolution"
            )
        dpi = float(min(image.info.get("dpi", (0.0, 0.0))))
        return image.size, bound_of(image.size, dpi / 72) if dpi >= SURE_DPI else 0

    def _opened(self, number: int) -> Image.Image:
        """A page whose headers were read; each page of a TIFF is opened as the only one, so that none costs others."""
        directory = self._directories[number]
        if directory:
            directory.require_readable(self._where(number), self._length)
            directory.become_first(self._data)
        self._data.seek(0)
        try:
            return Image.open(self._data, formats=(self._name,))
        except MemoryError:
            raise
        except Exception as wrong:  # Pillow raises what it happens to meet: OSError, SyntaxError, struct.error ...
            reason = str(wrong)
            if isinstance(wrong, UnidentifiedImageError):  # its message is about our buffer
                reason = directory.described if directory else "damaged at its beginning"
            raise Unreadable(f"{self._where(number)} cannot be opened ({reason}): {self._next_step(number)}") from wrong

    def page(self, number: int) -> np.ndarray[Any, Any]:
        if number in self.refused:
            raise self.refused[number]
        directory = self._directories[number]
        try:
            with self._opened(number) as opened:
                opened.load()
                image = ImageOps.exif_transpose(opened)
            inverted = directory is not None and directory.photometric == WHITE_IS_ZERO
            return np.ascontiguousarray(np.asarray(on_white(image, inverted=inverted))[..., ::-1])
        except (MemoryError, Unreadable):
            raise
        except Exception as wrong:
            reason = str(wrong)
            if directory:  # libtiff's own reasons are numbers
                missing = directory.missing(self._length)
                reason = f"{missing} bytes of it are missing" if missing else f"it is compressed with {directory.named}"
            told = f"{self._where(number)} cannot be read to its end ({reason})"
            raise Unreadable(f"{told}: {self._next_step(number)}") from wrong

    def _where(self, number: int) -> str:
        return f"page {number + 1} of the {self._name}" if len(self._directories) > 1 else f"the {self._name}"

    def _next_step(self, number: int) -> str:
        directory = self._directories[number]
        if directory and not directory.missing(self._length):
            return f"if a viewer shows it, {directory.advice}"
        return "it was cut off or is damaged. Send the whole file"


def is_unwritten(data: bytes) -> bool:
    """Whether a JPEG has no end marker after its last scan, and ends in zeros: it was never written to its end.

    Its decoder would make some picture of zeros. Pillow refuses one that ends without them.
    """
    return data.endswith(bytes(ZEROS)) and data.find(b"\xff\xd9", max(data.rfind(b"\xff\xda"), 0)) < 0


def on_white(image: Image.Image, *, inverted: bool = False) -> Image.Image:
    """An RGB picture of any mode: transparent places turn white, deeper colours are scaled to 8 bits.

    `inverted` pictures of 16 and more bits have white as zero; Pillow looks at that for fewer bits only.
    """
    if image.mode.startswith(("I", "F")):
        return grey(np.asarray(image), inverted=inverted).convert("RGB")
    if image.mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
        return converted or image.convert("RGB")
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def grey(values: np.ndarray[Any, Any], *, inverted: bool) -> Image.Image:
    """Whole or real numbers as 8 bits: the depth that they use is white, since scanners put 12 bits into 16."""
    whole = np.issubdtype(values.dtype, np.integer)
    finite = values if whole else values[np.isfinite(values)]
    if not finite.size:
        raise Unreadable("the picture holds no number that is finite: save it with 8 bits for each colour")
    least, most = float(finite.min()), float(finite.max())
    if least >= 0:
        least = 0.0
        if whole:
            most = float(max(255, (1 << int(most).bit_length()) - 1))
        else:
            most = next((depth for depth in DEPTHS if most <= depth), most)
    scale = 255.0 / max(most - least, 1e-9)
    eight = np.empty(values.shape, np.uint8)
    for first in range(0, len(values), ROWS):
        rows = np.nan_to_num(values[first : first + ROWS].astype(np.float64), posinf=most, neginf=least)
        eight[first : first + ROWS] = np.clip((rows - least) * scale + 0.5, 0, 255)
    return Image.fromarray(255 - eight if inverted else eight)
