"""What comes from outside reaches a terminal as text: every command, at a terminal and in a pipe.

Names of files, words of servers and of programs, settings, and members of archives all hold what a terminal
would obey. What is printed is looked at byte by byte.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from paddock.cli import COMMANDS, paddock
from pipeline_api import Maker, PipelineApi, says

# A title, a cleared screen, a colour in one byte (C1), text from right to left, and a line written over.
EVIL = "\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202eFAKE\u2066\x7f\rall parsed\u2028\x00"
NAME = EVIL.replace("\x00", "")
BYTES = os.fsencode(NAME) + b"\xff\x9b"  # a file's name need not be UTF-8

# Colours and the progress bar, as click writes them.
OURS = re.compile(rb"\x1b\[3[1236]m\x1b\[1m|\x1b\[0m|\x1b\[\?25[lh]|\x1b\[K|\r(?!all parsed)")
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\ud800-\udfff]"
)

PROGRAM = """
import json, sys
from paddock import console
from paddock.door import run
for arguments in json.loads(sys.argv[1]):
    print("-- next", flush=True)
    try:
        run(arguments)
    except Exception:
        console.defect()
    sys.stdout.flush()
"""

DOCKER = r"""
case "$*" in
    *" config"*) cat "$(dirname "$0")/config.json" ;;
    *version*) echo 2.40.0 ;;
    *" logs "*) cat "$(dirname "$0")/evil" ;;
    *) cat "$(dirname "$0")/evil" >&2; exit 1 ;;
esac
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder in which everything is called and says what it should not."""

    folder: Path
    environment: dict[str, str]


@pytest.fixture
def api() -> Iterator[PipelineApi]:
    server = PipelineApi()
    yield server
    server.stop()


@pytest.fixture
def place(tmp_path: Path, api: PipelineApi) -> Place:
    make = Maker(tmp_path)
    api.answer = says(422, {"errorCode": 422, "errorMsg": f"{EVIL}\nhint: pay"})
    api.readiness = {"ready": True, "model": EVIL, "reason": EVIL, "notice": EVIL}
    make.image(f"scans/{NAME}.png")
    make.data(os.fsdecode(b"scans/" + BYTES + b".pdf"), b"text")
    (tmp_path / "scans" / f"{NAME}-out.png").symlink_to("/etc/hostname")
    make.image("good.png")
    make.data("stack/compose.yaml", b"services: {}\n")
    make.data("stack/.env", f"IMAGE_PREFIX={NAME}\n".encode())
    make.data(f"bundle/{NAME}", b"")
    make.data("bundle/bundle.json", json.dumps({"format": EVIL, EVIL: EVIL}).encode())
    make.data("unread/bundle.json", f"{{{EVIL}".encode())
    make.data("tars/PP-DocLayoutV3_infer.tar", evil_tar())
    make.data("keys", f"{NAME}\n".encode())
    make.data("config.json", json.dumps({"name": "cpu", "services": {EVIL: {"image": EVIL}}}).encode())
    docker = make.data("bin/docker", b"#!/bin/sh\n" + DOCKER.encode())
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    make.data("bin/evil", f"{NAME}\n".encode() * 3)
    (tmp_path / "bin/config.json").write_bytes((tmp_path / "config.json").read_bytes())
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "PADDOCK_STATE": str(tmp_path / "state"),
        "PADDOCK_URL": api.url,
        "PADDOCK_ROOT": str(tmp_path),
        "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
        "MODELS_DIR": str(tmp_path / "models"),
        "PYTHONWARNINGS": "ignore",
    }
    environment.pop("NO_COLOR", None)
    return Place(folder=tmp_path, environment=environment)


def evil_tar() -> bytes:
    """An archive whose members are named so, and lead out."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("PP-DocLayoutV3_infer/link")
        link.type, link.linkname = tarfile.SYMTYPE, f"../../{NAME}"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo(f"../{NAME}"))
    return file.getvalue()


def every_command() -> Iterator[list[str]]:
    """Each command and subcommand with an argument, an option and a value that nobody should print."""
    context = click.Context(paddock)
    for name in COMMANDS:
        command = paddock.get_command(context, name)
        assert command is not None
        for words in (
            [[name, sub] for sub in command.commands] if isinstance(command, click.Group) else [[name]]
        ):
            yield [*words, NAME, NAME]
            yield [*words, f"--{NAME}"]
    yield [NAME]


TELLING = [
    ["parse", "scans", "good.png", "-o", "out"],
    ["parse", "scans", "good.png", "-o", "out", "--json"],
    ["parse", f"absent{NAME}", "-o", "out"],
    ["parse", "good.png", "-o", f"bundle/bundle.json/{NAME}"],
    ["smoke", "URL"],
    ["smoke", "URL", "--json"],
    ["logs", "./stack"],
    ["logs", "./stack", NAME],
    ["up", "./stack"],
    ["down", "./stack"],
    ["status", "./stack"],
    ["verify", "bundle"],
    ["verify", "unread"],
    ["bundle", "inspect", "bundle"],
    ["bundle", "diff", "bundle", "unread"],
    ["import", "bundle"],
    ["models", "fetch", "paddleocr-vl-1.6", "--from", "tars/PP-DocLayoutV3_infer.tar"],
    ["models", "check", NAME],
    ["keys", "list", "--file", "keys"],
    ["keys", "add", "a", "--file", "keys"],
]


def commands(api: PipelineApi) -> list[list[str]]:
    return [[api.url if word == "URL" else word for word in words] for words in [*every_command(), *TELLING]]


def in_a_pipe(place: Place, all_arguments: Sequence[Sequence[str]]) -> bytes:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(all_arguments)],
        cwd=place.folder,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=600,
    ).stdout


def at_a_terminal(place: Place, all_arguments: Sequence[Sequence[str]]) -> bytes:
    ours, theirs = pty.openpty()
    read: list[bytes] = []

    def listen() -> None:
        try:
            while piece := os.read(ours, 65536):
                read.append(piece)
        except OSError:  # nobody holds the other end any more
            return

    listener = threading.Thread(target=listen)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(all_arguments)],
        cwd=place.folder,
        env={**place.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    ) as child:
        os.close(theirs)
        listener.start()
        child.wait(600)
    listener.join(60)
    os.close(ours)
    return b"".join(read)


def forbidden(printed: bytes) -> list[str]:
    """Each line with something that a terminal would obey."""
    lines = printed.decode("utf-8", "surrogateescape").split("\n")
    return [ascii(line) for line in lines if FORBIDDEN.search(line.removesuffix("\r"))]


def test_in_a_pipe_nothing_is_obeyed(place: Place, api: PipelineApi) -> None:
    printed = in_a_pipe(place, commands(api))
    assert forbidden(printed) == []
    assert_told(printed)


def test_at_a_terminal_nothing_is_obeyed_but_our_own_colours(place: Place, api: PipelineApi) -> None:
    printed = at_a_terminal(place, commands(api))
    assert b"\x1b[31m\x1b[1merror:\x1b[0m" in printed
    assert forbidden(OURS.sub(b"", printed)) == []
    assert_told(printed)


def assert_told(printed: bytes) -> None:
    """The counter-proof: every command said something, and most of them what they should not say as it is."""
    parts = printed.decode("utf-8", "replace").replace("\r\n", "\n").split("-- next\n")[1:]
    assert len(parts) == len([*every_command(), *TELLING])
    assert all(parts)
    silent = [words for words, part in zip(TELLING, parts[-len(TELLING) :], strict=True) if not said_in(part)]
    assert [words[0] for words in silent] == ["up", "down", "status", "verify", "keys", "keys"]
    assert sum(map(said_in, parts)) > len(COMMANDS)
    assert not re.search("^hint: pay", "".join(parts), re.MULTILINE)


def said_in(part: str) -> bool:
    return r"\x1b]0;OWNED\x07" in part or r"\u001b]0;OWNED\u0007" in part
