"""The file by which people and this tool tell the embedded model from upstream's weights."""

from __future__ import annotations

from paddock.embedded import NOTICE
from paddock.weightfiles import EMBEDDED_MARKER as MARKER

__all__ = ["MARKER", "marker_text"]


def marker_text(name: str) -> bytes:
    """The marker of one set."""
    return f"""# {NOTICE}

This directory, `{name}`, was written by paddock from the small model that it carries. It reads lines of printed Latin
letters, digits and common punctuation, in upright fonts, dark on light; of ruled tables it reads the cells, not the
grid. It reads no formulas, charts or handwriting, and says nothing about the quality, the speed or the memory of
PaddleOCR-VL.

What it is, how it was made and how well it reads: docs/embedded-model.md of paddock.
""".encode()
