"""What the containers of a stack print: `docker compose logs`, line by line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from paddock import process
from paddock.errors import UsageError
from paddock.stack.folder import StackFolder

# What programs colour their lines with, and Compose 2.26 begins each with: "erase this line".
_COLOURS = re.compile(r"\x1b\[[0-9;]*[mK]")


def follow(
    folder: StackFolder,
    services: Sequence[str] = (),
    *,
    on_line: Callable[[str], None],
    follow: bool = False,
    tail: str | None = None,
    since: str | None = None,
) -> None:
    """Hand over each line of the named services, or of all; with `follow` until Ctrl-C.

    `tail` and `since` are Docker's own: a number of lines; a time or a duration such as 10m. Raises
    UsageError for an unknown service: with --project-name, Compose 2.26 shows nothing for one.
    """
    known = [service.name for service in folder.read().services]
    for name in services:
        if name not in known:
            raise UsageError(f'unknown service "{name}"', hint=f"known: {', '.join(known)}")
    process.stream(
        folder.argv(*arguments(services, follow=follow, tail=tail, since=since)),
        on_line=lambda line: on_line(plain(line)),
        cwd=folder.path,
        environment=folder.environment,
    )


def plain(line: str) -> str:
    """A line without its colours; any other escape sequence stays, for the terminal's door to show."""
    return _COLOURS.sub("", line)


def arguments(services: Sequence[str], *, follow: bool, tail: str | None, since: str | None) -> list[str]:
    """The arguments of `docker compose` for these logs."""
    return [
        "logs",
        "--no-color",
        *(["--follow"] if follow else []),
        *(["--tail", tail] if tail else []),
        *(["--since", since] if since else []),
        "--",
        *services,
    ]
