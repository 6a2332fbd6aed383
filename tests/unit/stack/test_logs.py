"""Reading what the containers of a stack print."""

from __future__ import annotations

from paddock.stack import logs


def test_arguments_of_logs() -> None:
    assert logs.arguments([], follow=False, tail=None, since=None) == ["logs", "--no-color", "--"]
    assert logs.arguments(["api"], follow=True, tail="5", since="10m") == [
        "logs",
        "--no-color",
        "--follow",
        "--tail",
        "5",
        "--since",
        "10m",
        "--",
        "api",
    ]
