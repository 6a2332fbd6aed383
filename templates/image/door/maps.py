"""The maps that HAProxy looks keys up in: files first, then the memory of the running HAProxy, in one step each.

HAProxy reads the files when it starts; later changes go through its stats socket, so nothing is ever reloaded.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from keyfile import LIMITS, Key

FOLDER = Path("/tmp/door/maps")  # noqa: S108 - the container's own; haproxy.cfg names it, too
SOCKET = Path("/tmp/door/admin.sock")  # noqa: S108
AT_A_TIME = 100  # lines: what is sent at once fits HAProxy's buffer
ANSWER_WITHIN = 10.0  # seconds

Maps = Mapping[str, Mapping[str, str]]  # name of the file without `.map` -> key -> value


class Refused(Exception):  # noqa: N818 - HAProxy's answer
    """HAProxy did not do what it was told."""


def of(keys: Sequence[Key], upstream: str) -> Maps:
    """The maps for these keys; `upstream` is the VLM server's own key, empty while it has none."""
    return {
        "keys": {key.digest: key.name for key in keys},
        "vlm": {key.name: "1" for key in keys if key.vlm},
        "upstream": {"vlm": upstream} if upstream else {},
        **{limit: {key.name: str(key.limits[limit]) for key in keys if limit in key.limits} for limit in LIMITS},
    }


def write(maps: Maps) -> None:
    """Write the files, each whole or not at all."""
    FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, entries in maps.items():
        part = FOLDER / f"{name}.part"
        part.write_text("".join(f"{line}\n" for line in lines(entries)), "ascii")
        part.replace(FOLDER / f"{name}.map")


def send(maps: Maps) -> None:
    """Make the maps in the running HAProxy equal to these. Raises Refused, and OSError where it does not listen."""
    for name, entries in maps.items():
        path = f"{FOLDER / name}.map"
        prepared = ask(f"prepare map {path}")  # "New version created: 7"
        version = prepared.rpartition(":")[2].strip()
        if not version.isdigit():
            raise Refused(prepared)
        listed = list(lines(entries))
        for at in range(0, len(listed), AT_A_TIME):
            require_silence(ask(f"add map @{version} {path} <<\n" + "\n".join(listed[at : at + AT_A_TIME]) + "\n"))
        require_silence(ask(f"commit map @{version} {path}"))


def lines(entries: Mapping[str, str]) -> Iterator[str]:
    """The lines of a map."""
    return (f"{key} {value}" for key, value in entries.items())


def require_silence(answer: str) -> None:
    """HAProxy says something only where it refuses."""
    if answer.strip():
        raise Refused(answer.strip())


def ask(command: str) -> str:
    """HAProxy's answer to a command on its stats socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_WITHIN)
        connection.connect(str(SOCKET))
        connection.sendall(f"{command}\n".encode("ascii"))
        return b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode("utf-8", "replace")
