"""The embedded model's own figure: the demo's document, one page, on a stack that has read one before."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from paddock import process
from paddock.building.settings import BuildSettings
from programs import PADDOCK

from .conftest import OUT, TARGET, Plan
from .figures import Book, Figure, Goal
from .images import Say
from .stacks import Service, parse, request_of, wait_until_parsed

TURNS = 7


@pytest.mark.usefixtures("our_images")
def test_embedded_model_reads_the_demo_page(
    book: Book, build_settings: BuildSettings, plan: Plan, repository: Path, say: Say
) -> None:
    models = OUT / "embedded-models"
    fetch = [*PADDOCK, "models", "fetch", "embedded", "--to", str(models)]
    process.stream(fetch, on_line=say)
    service = Service(
        project="paddock-bench-embedded",
        file=repository / "compose" / f"{TARGET}-embedded" / "compose.yaml",
        port=plan.port,
        ready="/health/ready",
        environment={"MODELS_DIR": str(models), "IMAGE_PREFIX": build_settings.image_prefix},
    )
    body, seconds = request_of((repository / "docs/sample/receipt.png").read_bytes()), []
    try:
        service.start()
        wait_until_parsed(service, body)
        for _ in range(TURNS):
            begin = time.monotonic()
            parse(service, body)
            seconds.append(time.monotonic() - begin)
    finally:
        service.stop()
    book.add(
        Figure(
            name="embedded model, the demo's page",
            unit="s",
            ours=seconds,
            value=statistics.median(seconds),
            value_unit="s",
            goal=Goal(bound="at most", limit=5),
            note="docs/sample/receipt.png through the stack cpu-embedded, after one page for warming up",
        )
    )
