"""A stack with the embedded model for all tests here, with one VLM server after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from embedded_stack import Reader, running
from workshop import Workshop


@pytest.fixture(scope="package", params=["vllm", "llama.cpp"])
def reader(request: pytest.FixtureRequest, shop: Workshop) -> Iterator[Reader]:
    with running(shop, request.param) as reader:
        yield reader
