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


def test_colours_go_and_nothing_else() -> None:
    assert logs.plain("\x1b[2Kapi-1  | \x1b[33;1mwarning\x1b[0m") == "api-1  | warning"
    assert logs.plain("api-1  | \x1b]0;title\x07\x1b[2J") == "api-1  | \x1b]0;title\x07\x1b[2J"
