"""A one-page document beside a long one: how much longer it takes, and how soon /health answers."""

from __future__ import annotations

import base64
import io
import json
import statistics
import threading
import time
import urllib.request

import pytest
import requests
from PIL import Image

from paddock import process
from paddock.building.settings import BuildSettings
from programs import PADDOCK
from repository import REPOSITORY

from .conftest import OUT, TARGET, Plan
from .figures import Book, Figure, Goal
from .images import Say
from .stacks import Service, parse, request_of, wait_until_parsed

LONG, TURNS = 150, 5
BESIDE = "one page beside 150"


def long_document() -> bytes:
    """A PDF of 150 times the demo's page."""
    page = Image.open(REPOSITORY / "docs/sample/receipt.png").convert("L")
    written = io.BytesIO()
    page.save(written, "PDF", save_all=True, append_images=[page] * (LONG - 1))
    return written.getvalue()


@pytest.mark.usefixtures("our_images")
def test_a_short_document_beside_a_long_one(
    book: Book, build_settings: BuildSettings, plan: Plan, say: Say
) -> None:
    models = OUT / "embedded-models"
    process.stream([*PADDOCK, "models", "fetch", "embedded", "--to", str(models)], on_line=say)
    service = Service(
        project="paddock-bench-fairness",
        file=REPOSITORY / "compose" / f"{TARGET}-embedded" / "compose.yaml",
        port=plan.port,
        ready="/health/ready",
        environment={"MODELS_DIR": str(models), "IMAGE_PREFIX": build_settings.image_prefix},
    )
    body = request_of((REPOSITORY / "docs/sample/receipt.png").read_bytes())
    url = f"http://127.0.0.1:{plan.port}"
    health: list[float] = []
    over = threading.Event()

    def look_at_health() -> None:
        while not over.wait(0.2):
            began = time.monotonic()
            requests.get(f"{url}/health", timeout=60)
            health.append(time.monotonic() - began)

    def timed() -> float:
        began = time.monotonic()
        parse(service, body)
        return time.monotonic() - began

    try:
        service.start()
        wait_until_parsed(service, body)
        alone = [timed() for _ in range(TURNS)]
        send_long(url)
        looking = threading.Thread(target=look_at_health)
        looking.start()
        time.sleep(10)
        beside = [timed() for _ in range(TURNS)]
        over.set()
        looking.join()
    finally:
        over.set()
        service.stop()
    book.add(
        Figure(
            name=BESIDE,
            unit="s",
            ours=beside,
            theirs=alone,
            value=statistics.median(beside) / statistics.median(alone),
            goal=Goal(bound="at most", limit=3),
            note="the demo's page while 150 such pages are worked on, against alone; stack cpu-embedded",
        )
    )
    book.add(
        Figure(
            name="/health beside 150 pages",
            unit="s",
            ours=health,
            value=max(health),
            value_unit="s",
            goal=Goal(bound="under", limit=1),
            note="the slowest of all",
        )
    )


def send_long(url: str) -> None:
    """Send the long document and do not wait for its answer."""
    content = {"file": base64.b64encode(long_document()).decode(), "fileType": 0, "visualize": False}
    request = urllib.request.Request(
        f"{url}/layout-parsing", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    threading.Thread(target=urllib.request.urlopen, args=(request,), daemon=True).start()
