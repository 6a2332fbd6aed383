"""The files that mark test weights and the embedded model, so nobody takes them for upstream's weights."""

from __future__ import annotations

import re
from pathlib import Path

from paddock.weights.lockfile import Kind

TEST_MARKER = "TEST_WEIGHTS.md"  # in every set of test weights
EMBEDDED_MARKER = "EMBEDDED_MODEL.md"  # in every set of the embedded model
NOTICE = "demo model: plain printed Latin text only"
TEST_NOTICE = "test weights: the text is not read from the page"
DEFAULT_TEXT = "paddock test weights: this text was not read from the page"


def kind_by_marker(directory: Path) -> Kind:
    """Return what a set is that was carried in: test weights and the embedded model stay what they are."""
    if (directory / EMBEDDED_MARKER).exists():
        return Kind.EMBEDDED
    return Kind.TEST if (directory / TEST_MARKER).exists() else Kind.CARRIED


def embedded_marker_text(name: str) -> bytes:
    """Return the marker of one set of the embedded model."""
    return f"""# {NOTICE}

This directory, `{name}`, was written by paddock from the small model that it carries. It reads lines of printed Latin
letters, digits and common punctuation, in upright fonts, dark on light; of ruled tables it reads the cells, not the
grid. It reads no formulas, charts or handwriting, and says nothing about the quality, the speed or the memory of
PaddleOCR-VL.

What it is, how it was made and how well it reads: docs/embedded-model.md of paddock.
""".encode()  # noqa: E501 - the lines of the file


def what_it_does(text: str) -> str:
    """Return the paragraph of a marker that says what the language model answers."""
    return f"Whatever it is asked and shown, this language model answers:\n\n    {text}"


def text_in(marker: str) -> str | None:
    """Return the text that test weights answer, from the marker beside them; None where it names none."""
    match = re.search(r"language model answers:\n\n    (.+)", marker)
    return match[1].strip() if match else None


def test_marker_text(name: str, what: str) -> bytes:
    """Return the marker of one set of test weights.

    `name` is upstream's directory name, `what` says what stands in for the real thing.
    """
    return f"""# Test weights, not a model

This directory is named `{name}` so that the software finds it where it expects upstream's weights.
It holds small test weights made by `paddock models make-test`. They were never trained.

{what}

They show that images, configuration and network fit together. They say nothing about the quality, the speed or the
memory of the real model. Replace them with upstream's weights: `paddock models fetch`.
""".encode()  # noqa: E501 - the lines of the file
