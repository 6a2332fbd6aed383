"""Whatever a file system can say reaches the user as one line: every command, in every such state.

`REACHING` has an argument list for each command, with which it reads and writes; a new command needs one.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from command_place import Place, made_place
from paddock.cli import COMMANDS, paddock

# Each command as it reaches files of the folder that it is run in.
REACHING: dict[str, list[str]] = {
    "render": ["render", "-o", "rendered"],
    "build": ["build", "cpu", "--wheelhouse", "stack"],
    "models fetch": ["models", "fetch", "paddleocr-vl-1.6", "--from", "tars"],
    "models make-test": ["models", "make-test", "paddleocr-vl-1.6", "--role", "vlm"],
    "models list": ["models", "list"],
    "models check": ["models", "check"],
    "tune": ["tune", "cu126", "--vram", "24", "--write"],
    "up": ["up", "./stack"],
    "down": ["down", "./stack"],
    "status": ["status", "./stack"],
    "smoke": ["smoke", "./stack"],
    "logs": ["logs", "./stack"],
    "doctor": ["doctor", "cpu"],
    "keys add": ["keys", "add", "scanner", "--file", "api-keys/keys"],
    "keys list": ["keys", "list", "--file", "api-keys/keys"],
    "keys revoke": ["keys", "revoke", "first", "--file", "api-keys/keys"],
    "parse": ["parse", "scans", "-o", "out"],
    "export": ["export", "--image", "a:1", "-o", "exported", "--sign", "key"],
    "keygen": ["keygen", "new"],
    "sign": ["sign", "bundle", "--key", "key"],
    "verify": ["verify", "bundle"],
    "import": ["import", "bundle", "--unsigned"],
    "receipt": ["receipt", "-o", "receipt.json"],
    "rollback": ["rollback"],
    "trust list": ["trust", "list"],
    "trust add": ["trust", "add", "key.pub"],
    "trust remove": ["trust", "remove", "0123456789ABCDEF"],
    "bundle inspect": ["bundle", "inspect", "bundle"],
    "bundle diff": ["bundle", "diff", "bundle", "bundle"],
    "bundle trust": ["bundle", "trust", "key.pub"],
    "completion": ["completion", "bash"],
    "config list": ["config", "list", "./stack"],
    "config get": ["config", "get", "./stack", "API_PORT"],
    "config set": ["config", "set", "./stack", "API_PORT=8081"],
}
SLOW = {"render", "tune", "build", "doctor"}  # they read every template

# With these each command is run; what else there is, with those of FEW.
EVERYWHERE = (errno.EACCES, errno.ENOSPC, errno.EMFILE)
FEW = ("keygen", "sign", "keys add", "import", "models check")
NUMBERS = (
    errno.EROFS,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENFILE,
    errno.EIO,
    errno.ESTALE,
    errno.EINVAL,
    errno.EUCLEAN,  # one that no table knows
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with made_place(tmp_path) as made:
        yield made


def every_command() -> set[str]:
    """The names of all commands, and of those within groups."""
    context = click.Context(paddock)
    names = set()
    for name in COMMANDS:
        command = paddock.get_command(context, name)
        assert command is not None
        within = command.commands if isinstance(command, click.Group) else {}
        names |= {f"{name} {sub}" for sub in within} or {name}
    return names


def test_every_command_is_here() -> None:
    assert set(REACHING) == every_command()


def told(said: str) -> bool:
    """Whether it is an error of ours and no traceback."""
    return "Traceback" not in said and re.search("^error: ", said, re.MULTILINE) is not None


def refusing() -> Iterator[tuple[int, bool, list[str]]]:
    """Every command in every state that is worth its time: a number, whether reading is refused, too."""
    for name, arguments in REACHING.items():
        if name in SLOW:
            yield EVERYWHERE[0], True, arguments
            continue
        for number in (*EVERYWHERE, *(NUMBERS if name in FEW else ())):
            yield number, False, arguments
            yield number, True, arguments


def test_whatever_the_system_refuses_is_told(place: Place) -> None:
    cases = list(refusing())
    done = place.run(cases)
    untold = [
        (errno.errorcode[number], reading, arguments, said[-400:])
        for (number, reading, arguments), (status, said) in zip(cases, done, strict=True)
        if status and not told(said)
    ]
    assert untold == []
    failed = {arguments[0] for (_, _, arguments), (status, _) in zip(cases, done, strict=True) if status}
    assert len(failed) > len(COMMANDS) * 2 // 3, failed


def test_names_and_arguments_that_are_not_utf8_are_told(place: Place) -> None:
    word = "x\udcff"
    cases = [
        (0, False, [*name.split(), *words])
        for name in sorted(every_command())
        for words in ([word, word], [f"--{word}"])
    ]
    cases += [
        (0, False, arguments)
        for arguments in (
            ["export", "--image", word, "-o", "o"],
            ["build", "cpu", "--image-prefix", word],
            ["models", "make-test", "paddleocr-vl-1.6", "--text", word, "--role", "vlm", "--to", word],
            ["parse", "scans", "-o", "o", "--url", f"http://{word}"],
            ["smoke", f"http://{word}"],
            ["keys", "add", word, "--file", "api-keys/keys"],
            ["up", "./stack", "--project", word],
            ["import", "bundle", "--unsigned", "--to", word],
        )
    ]
    done = place.run(cases)
    assert [
        (arguments, said)
        for (_, _, arguments), (_, said) in zip(cases, done, strict=True)
        if "Traceback" in said
    ] == []


FULL = """error: standard output: the disk is full
hint: `df -h .` shows it; make room there, then repeat the command
"""


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("paddock bundle inspect bundle > /dev/full", 9, FULL),
        ("paddock bundle inspect bundle --json > /dev/full", 9, FULL),
        ("paddock --help > /dev/full", 9, FULL.replace("standard output: ", "")),
        ("{ paddock bundle inspect bundle; echo $? >&2; } | :", 0, "141\n"),
        ("{ paddock --help; echo $? >&2; } | :", 0, "1\n"),
        ("paddock bundle inspect bundle >&-", 0, ""),
        ("paddock keys list --file scans >&- 2>&-", 2, ""),
        ("paddock bundle inspect nowhere 2> /dev/full", 2, ""),
    ],
)
def test_what_cannot_be_printed(place: Place, script: str, status: int, said: str) -> None:
    done = place.shell(script)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_work_goes_on_where_only_its_progress_cannot_be_printed(place: Place) -> None:
    done = place.shell("paddock verify bundle 2> /dev/full")
    assert (done.returncode, done.stderr) == (0, "")
    assert "all as written" in done.stdout


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("mkdir gone; cd gone; rmdir ../gone; unset PADDOCK_ROOT; paddock models list", "current folder"),
        ("paddock render -o stack/.env/x", "stack/.env"),
        ("paddock render -o $(printf 'a%.0s' $(seq 300))", "is longer than a path or a name can be"),
        ("PADDOCK_STATE='~nobody-like-this/x' paddock trust list", "expected HOME to name a folder"),
        ("ulimit -n 5; paddock verify bundle", "this process may not open more files"),
    ],
)
def test_real_states(place: Place, script: str, said: str) -> None:
    done = place.shell(script)
    assert (done.returncode, done.stderr.count("\nhint: ")) == (9, 1), done.stderr
    assert said in done.stderr
