"""`paddock build` as it is typed: what is refused, and what it prints."""

from __future__ import annotations

import json

import pytest

from paddock.building import build
from paddock.building.settings import BuildSettings
from paddock.door import run


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ("tool --offline", 2, "tool: found --backend, --model, --offline or --stand-in, expected none"),
        ("tool --stand-in", 2, "it is no stack"),
        ("cpu --base debian", 2, "--base debian: expected REFERENCE=IMAGE"),
        ("no-such-target", 2, 'unknown target "no-such-target"'),
        ("cpu --wheelhouse /nowhere", 3, "WHEELHOUSE: found /nowhere"),
    ],
)
def test_refused(arguments: str, status: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", *arguments.split()]) == status
    assert words in capsys.readouterr().err


def test_options_reach_the_build_and_images_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, object] = {}

    def build_images(stack: object, settings: BuildSettings, **others: object) -> tuple[str, ...]:
        given.update(others, prefix=settings.image_prefix, index=settings.pip_index_url)
        return ("here/cpu-api:1", "here/cpu-vllm:1")

    monkeypatch.setattr(build, "build_images", build_images)
    options = "--image-prefix here/ --pip-index-url https://mirror.example/simple --base a:1=b:2 --no-cache"
    assert run(["build", "cpu", *options.split()]) == 0
    assert capsys.readouterr().out == "here/cpu-api:1\nhere/cpu-vllm:1\n"
    assert (given["prefix"], given["index"]) == ("here/", "https://mirror.example/simple")
    assert (given["stand_ins"], given["no_cache"], given["stand_in_packages"]) == (
        {"a:1": "b:2"},
        True,
        False,
    )
    assert run(["build", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "stack": "cpu",
        "images": ["here/cpu-api:1", "here/cpu-vllm:1"],
    }
