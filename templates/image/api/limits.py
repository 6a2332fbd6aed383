"""What a request may cost, from the container's environment, and how a request is refused."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field

# PaddleX 3.7.2: inference/models/doc_vlm/constants.py and inference/pipelines/paddleocr_vl/pipeline.py.
MAX_NEW_TOKENS = 8192
FEWEST_PIXELS = 784  # one patch of 28 x 28
MOST_MIN_PIXELS = 451_584  # four times the default of 112,896: a small word never costs as much as a page
MOST_PIXELS = 1_605_632  # what the model reads of a page for spotting; no task takes more


class Refusal(Exception):  # noqa: N818 - it is an answer
    """A request that is answered with `status` and a reason instead of a result."""

    def __init__(self, status: int, reason: str, *, retry_after: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after  # seconds; 0 says nothing


def number(name: str, default: int) -> int:
    """The whole number above 0 that an environment variable holds; `default` where it is unset or empty."""
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        sys.exit(f"{name}={text}: found no whole number above 0, such as {default}")
    return int(text)


def names(name: str) -> tuple[str, ...]:
    """What an environment variable lists, separated by commas or blanks, in small letters."""
    return tuple(os.environ.get(name, "").lower().replace(",", " ").split())


@dataclass(frozen=True)
class Limits:
    """Each bound by the name of its variable."""

    parallel_requests: int = field(default_factory=lambda: number("API_PARALLEL_REQUESTS", 8))
    waiting_requests: int = field(default_factory=lambda: number("API_WAITING_REQUESTS", 32))
    max_bytes: int = field(default_factory=lambda: number("API_MAX_BYTES", 100_000_000))
    max_pages: int = field(default_factory=lambda: number("API_MAX_PAGES", 1000))
    max_pixels: int = field(default_factory=lambda: number("API_MAX_PIXELS", 100_000_000))
    timeout: int = field(default_factory=lambda: number("API_MAX_SECONDS", 3600))

    @property
    def max_body(self) -> int:
        """Bytes of a request: the document in base64, and its options."""
        return self.max_bytes * 4 // 3 + 2_000_000

    @property
    def open_requests(self) -> int:
        """Requests that are worked on or wait."""
        return self.parallel_requests + self.waiting_requests
