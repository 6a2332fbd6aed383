"""What `parse.document` makes of a file, for tests: the facts that it finds, or how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import UsageError
from paddock.parse.document import Document, Kind, inspect


def refusal(path: Path) -> UsageError:
    """The error for a file that cannot be parsed; it names the file first."""
    with pytest.raises(UsageError) as caught:
        inspect(path)
    assert caught.value.message.startswith(f"{path}: ")
    return caught.value


def facts(document: Document) -> tuple[Kind, int | None]:
    """The kind of a document and its number of pages."""
    return document.kind, document.pages
