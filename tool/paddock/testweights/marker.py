"""The file by which people and this tool tell test weights from upstream's weights."""

from __future__ import annotations

MARKER = "TEST_WEIGHTS.md"


def marker_text(name: str, what: str) -> bytes:
    """The marker of one set: `name` is upstream's directory name, `what` says what stands in for the real thing."""
    return f"""# Test weights, not a model

This directory is named `{name}` so that the software finds it where it expects upstream's weights.
It holds small test weights made by `paddock models make-test`. They were never trained.

{what}

They show that images, configuration and network fit together. They say nothing about the quality, the speed or the
memory of the real model. Replace them with upstream's weights: `paddock models fetch`.
""".encode()
