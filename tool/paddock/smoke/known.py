"""What stands on the documents in `drawn/`. scripts/maintain/make-smoke-documents.py draws them and writes it
down.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

DOCUMENTS = Path(__file__).parent / "drawn"


@cache
def known_answers(*, plain: bool = False) -> dict[str, Any]:
    """What stands on our documents, or on those in plain print: of a page its words, or its lines.

    scripts/maintain/make-smoke-documents.py wrote it when it drew them.
    """
    known: dict[str, Any] = json.loads((DOCUMENTS / "answers.json").read_text("utf-8"))
    return known["plain"] if plain else known


def file(name: str) -> bytes:
    return (DOCUMENTS / name).read_bytes()
