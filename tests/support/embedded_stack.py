"""A stack with the embedded model, as tests start it, ask it and end it."""

from __future__ import annotations

import base64
import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from programs import Finished, free_port, succeeded
from workshop import Workshop


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """A stack with the embedded model."""

    shop: Workshop
    backend: str
    port: int
    project: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stack(self) -> tuple[str, ...]:
        """Its target and options."""
        return ("cpu", "--model", "embedded", "--backend", self.backend)

    @property
    def models(self) -> str:
        """Not the shop's own folder: its lock is compared elsewhere."""
        return str(self.shop.root / "embedded-models")

    def container(self, service: str) -> str:
        """The name of a service's container."""
        return f"{self.project}-{service}-1"

    def fetch(self, backend: str) -> None:
        """Have the weights for `backend`."""
        fetch = ("models", "fetch", "embedded", "--backend", backend)
        succeeded(self.shop.paddock(*fetch, MODELS_DIR=self.models))

    def paddock(self, command: str, *options: str, **more: str) -> Finished:
        """Run a command about this stack."""
        arguments = (command, *self.stack, "--project", self.project, *options)
        return self.shop.paddock(*arguments, MODELS_DIR=self.models, **more)

    def up(self, **more: str) -> str:
        """Start it, or bring it to other settings; what that said."""
        return succeeded(self.paddock("up", "--port", str(self.port), **more))

    def blocks(self, file: bytes, *, pdf: bool = False) -> list[list[str]]:
        """The text of each block of each page."""
        return [[block["block_content"] for block in page] for page in self.pages(file, pdf=pdf)]

    def pages(self, file: bytes, *, pdf: bool = False) -> list[list[dict[str, Any]]]:
        """The blocks of each page, as the pipeline API gives them."""
        body = {"file": base64.b64encode(file).decode(), "fileType": 0 if pdf else 1, "visualize": False}
        request = urllib.request.Request(
            f"{self.url}/layout-parsing", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=900) as answer:
            results = json.load(answer)["result"]["layoutParsingResults"]
        return [page["prunedResult"]["parsing_res_list"] for page in results]


@contextmanager
def running(shop: Workshop, backend: str) -> Iterator[Reader]:
    """Such a stack, until it is no longer needed."""
    project = f"paddock-test-embedded-{os.getpid()}"
    reader = Reader(shop=shop, backend=backend, port=free_port(), project=project)
    reader.fetch(backend)
    succeeded(shop.paddock("render", *reader.stack))
    try:
        reader.up()
        yield reader
    finally:
        reader.paddock("down", "--volumes")
