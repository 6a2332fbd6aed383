"""Pictures in the judge: can one be decoded to its end, and a PNG of one that the pipeline API does not read.

Runs in the judge only (`parse.judge`), where a picture that crashes its decoder ends nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pi_heif
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from paddock.errors import UsageError, quoted
from paddock.parse.imagesizes import check_pixels
from paddock.parse.questions import DAMAGED_HINT, MADE, Verdict

# Pillow's names of what the API reads, and of what is made a PNG for it.
_SENT = ("PNG", "JPEG", "TIFF")
_CONVERTED = ("BMP", "GIF", "WEBP", "AVIF", "HEIF", "JPEG2000", "PPM")
_PNG_MODES = frozenset({"1", "L", "LA", "I;16", "P", "RGB", "RGBA"})

Image.MAX_IMAGE_PIXELS = None  # sizes are looked at here
pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


def whole(path: Path) -> Verdict:
    """Decode every page of a PNG, JPEG or TIFF. Notes name those that cannot be; UsageError: none can."""
    wrong: list[str] = []
    with _opened(path, _SENT) as image:
        for page, frame in enumerate(ImageSequence.Iterator(image) if image.format == "TIFF" else [image], 1):
            try:
                with _telling(image, path):
                    frame.load()
            except UsageError as fault:
                wrong.append(f"page {page}: {fault.message}")
                first = fault
        if len(wrong) == page:
            raise first
        return Verdict(pages=page, notes=tuple(wrong))


def to_png(path: Path, folder: Path) -> Verdict:
    """Write the first or main picture of a file into `folder`, as PNG and upright.

    Raises UsageError for a damaged file, and for more pixels than the API takes.
    """
    with _opened(path, _CONVERTED) as image:
        check_pixels(*image.size)
        with _telling(image, path):
            count = getattr(image, "n_frames", 1)
            image.load()
            upright = ImageOps.exif_transpose(image)
        _for_png(upright, image.format).save(folder / MADE, "PNG", compress_level=1, icc_profile=None)
        which = "main" if image.format == "HEIF" else "first"
        several = f"it holds {count} pictures, of which only the {which} one is sent"
        return Verdict(notes=(several,) if count > 1 else ())


@contextmanager
def _opened(path: Path, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    with path.open("rb") as file:
        try:
            image = Image.open(file, formats=formats)
        except MemoryError:
            raise
        except UnidentifiedImageError as unknown:  # its own message is about our file object
            raise UsageError("the picture is damaged at its beginning", hint=DAMAGED_HINT) from unknown
        except Exception as fault:
            raise _refusal("picture", fault, path) from fault
        with image:
            yield image


@contextmanager
def _telling(image: Image.Image, path: Path) -> Iterator[None]:
    """Turn what a decoder raises into a refusal: OSError, SyntaxError, struct.error and whatever it meets."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as fault:
        raise _refusal(image.format, fault, path) from fault


def _refusal(what: str | None, fault: Exception, path: Path) -> UsageError:
    """The refusal for what a decoder raised; one that says "unsupported" found nothing damaged."""
    if "unsupported" in str(fault).lower():
        made = f"`convert {quoted(path)} {quoted(path.with_suffix('.png'))}`"
        return UsageError(
            f"the {what} is of a form that is not read: {fault}",
            hint=f"convert it, for example with ImageMagick ({made}), and parse that",
        )
    return UsageError(f"the {what} is damaged or cut off: {fault}", hint=DAMAGED_HINT)


def _for_png(image: Image.Image, kind: str | None) -> Image.Image:
    """The same picture in a mode that PNG has; what is transparent stays so."""
    if kind == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        return image.convert("RGB")  # a fourth byte that nobody set, and not a picture that nobody can see
    if image.mode in _PNG_MODES:
        return image
    if image.mode == "I":
        return image.convert("I;16")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")
