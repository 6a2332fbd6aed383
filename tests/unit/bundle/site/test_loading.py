"""What goes to an engine for a layer, and what its answers mean."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.bundle.format.manifest import Layer
from paddock.bundle.site.loading import EngineRefusedError, SentStep, counted
from paddock.bundle.site.loadplan import Step
from paddock.errors import BundleError
from samples import bundles


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return bundles.write(tmp_path).layers[0]


@pytest.mark.parametrize("size", [10, 1000])
def test_progress_is_in_raw_bytes(layer: Layer, size: int) -> None:
    told: list[int] = []
    pieces = [bytes(size // 2)] * 2
    assert list(counted(iter(pieces), layer, size, told.append)) == pieces
    assert (len(told), sum(told)) == (2, layer.raw_size)


@pytest.mark.parametrize("size", [9, 11])
def test_a_layer_of_another_size_is_refused_and_no_more_is_sent(layer: Layer, size: int) -> None:
    sent: list[bytes] = []
    with pytest.raises(BundleError, match=f"found 10 bytes, expected {size}"):
        sent.extend(counted(iter([bytes(5), bytes(5)]), layer, size, lambda _: None))
    assert len(b"".join(sent)) <= size


class Answer:
    """What an engine says to a load."""

    def __init__(self, lines: Iterable[bytes], status_code: int = 200) -> None:
        self.status_code, self._lines = status_code, lines
        self.closed = False

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def iter_lines(self) -> Iterable[bytes]:
        return self._lines


class Client:
    """An engine whose names are removed."""

    def __init__(self) -> None:
        self.removed: list[str] = []
        self.images = SimpleNamespace(remove=self.removed.append)


def sent(
    answer: Any, client: Any, *, name: str = "step", last: bool = False, previous: Any = None
) -> SentStep:
    step = Step(number=0, depth=1, carried=(), last=last)
    return SentStep(client, step, name, answer, previous)


def test_a_step_that_was_loaded_replaces_the_one_before() -> None:
    client = Client()
    loaded = b'{"stream":"Loaded image: paddock-incoming:1-0-1"}'
    first = sent(Answer([loaded]), client, name="first")
    second = sent(Answer([loaded]), client, name="second", last=True, previous=first)
    third = sent(Answer([loaded]), client, name="third", previous=second)
    for step in (first, second, second, third):
        step.finish()
    assert client.removed == ["first"]  # the second one was the last of its image


@pytest.mark.parametrize(
    "line",
    [
        b'{"error":"write /layer: no space left on device"}',
        b'{"message":"invalid tar header"}',
        b'{"stream":"Error unpacking image: failed to extract"}',
        b"failed to load",
    ],
)
def test_a_failure_in_the_output_is_a_failure(line: bytes) -> None:
    answer = Answer([b'{"status":"Loading layer"}', line])
    with pytest.raises(EngineRefusedError, match="step: the engine did not load it") as refused:
        sent(answer, Client()).finish()
    assert answer.closed
    assert ("make room" in refused.value.hint) is (b"no space left" in line)


def test_a_status_that_is_no_success_is_a_failure() -> None:
    with pytest.raises(EngineRefusedError, match="status 500"):
        sent(Answer([b"[]"], status_code=500), Client()).finish()


def test_silence_is_a_failure() -> None:
    with pytest.raises(BundleError, match="the engine said nothing about it"):
        sent(Answer([]), Client()).finish()


def test_a_broken_connection_is_told() -> None:
    def lines() -> Iterable[bytes]:
        yield b'{"status":"Loading layer"}'
        raise ConnectionResetError("Connection reset by peer")

    with pytest.raises(
        BundleError, match=r"step: the engine broke off .* Connection reset by peer"
    ) as refused:
        sent(Answer(lines()), Client()).finish()
    assert "goes on with what is loaded already" in refused.value.hint
