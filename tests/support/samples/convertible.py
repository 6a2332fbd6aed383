"""Pictures of a black bar on white, in the formats that `paddock parse` converts."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageDraw

SIZE = (64, 48)
BAR = (8, 8, 40, 24)

# Drawn as below and coded with libheif: Pillow and pi-heif only read HEIC.
_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAGUAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAAG1tZGF0AAAAYSgBrwngJBOj3b97fe/9EDieSdoUtkHNLfm2VlqI"
    "L2QW7yRqi3cIIn+5G/+rjEwgK5Vz9c83I3FnyCulR1zRqtU/KGOtOdnTDreqm5+Jd4UAAG9IX/4RVgKFgluSyBnWiP0="
)


def drawn() -> Image.Image:
    """The picture itself."""
    image = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(image).rectangle(BAR, fill="black")
    return image


def coded(kind: str) -> bytes:
    """The picture in a format by Pillow's name for it."""
    if kind == "HEIF":
        return base64.b64decode(_HEIC)
    file = io.BytesIO()
    drawn().save(file, kind)
    return file.getvalue()


def is_drawn(image: Image.Image) -> bool:
    """Whether a picture shows the bar where it was drawn, as far as a lossy format keeps it."""
    grey = image.convert("L")
    inside, outside = grey.getpixel((20, 16)), grey.getpixel((56, 40))
    assert isinstance(inside, int)
    assert isinstance(outside, int)
    return image.size == SIZE and inside < 60 and outside > 200
