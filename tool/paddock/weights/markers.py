"""The files by which people and this tool tell test weights and the embedded model from upstream's weights."""

from __future__ import annotations

import re
from pathlib import Path

from paddock.weights.lockfile import Kind

TEST_MARKER = "TEST_WEIGHTS.md"  # only `paddock models make-test` writes it
EMBEDDED_MARKER = "EMBEDDED_MODEL.md"  # beside the weights of the model embedded, which paddock writes
NOTICE = "demo model: plain printed Latin text only"
DEFAULT_TEXT = "paddock test weights: this text was not read from the page"


def brought(directory: Path) -> Kind:
    """Test weights stay test weights, and the embedded model what it is, however they came."""
    if (directory / EMBEDDED_MARKER).exists():
        return Kind.EMBEDDED
    return Kind.TEST if (directory / TEST_MARKER).exists() else Kind.CARRIED


def embedded_marker_text(name: str) -> bytes:
    """The marker of one set."""
    return f"""# {NOTICE}

This directory, `{name}`, was written by paddock from the small model that it carries. It reads lines of printed Latin
letters, digits and common punctuation, in upright fonts, dark on light; of ruled tables it reads the cells, not the
grid. It reads no formulas, charts or handwriting, and says nothing about the quality, the speed or the memory of
PaddleOCR-VL.

What it is, how it was made and how well it reads: docs/embedded-model.md of paddock.
""".encode()


def what_it_does(text: str) -> str:
    """One paragraph for the marker."""
    return f"Whatever it is asked and shown, this language model answers:\n\n    {text}"


def text_in(marker: str) -> str | None:
    """The text that test weights answer, from the marker beside them."""
    found = re.search(r"language model answers:\n\n    (.+)", marker)
    return found[1].strip() if found else None


def test_marker_text(name: str, what: str) -> bytes:
    """The marker of one set: `name` is upstream's directory name, `what` says what stands in for the real
    thing.
    """
    return f"""# Test weights, not a model

This directory is named `{name}` so that the software finds it where it expects upstream's weights.
It holds small test weights made by `paddock models make-test`. They were never trained.

{what}

They show that images, configuration and network fit together. They say nothing about the quality, the speed or the
memory of the real model. Replace them with upstream's weights: `paddock models fetch`.
""".encode()
