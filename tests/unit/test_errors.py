"""The family of errors: each has an exit status of its own, and says what a program printed last."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from paddock import errors
from paddock.errors import (
    BundleError,
    ConfigurationError,
    PaddockError,
    PreflightError,
    ProgramError,
    UsageError,
    causes,
    not_utf8,
    quoted,
    refusal,
    refused_by_system,
)


def test_every_kind_of_error_has_its_exit_status() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, PaddockError) and kind is not PaddockError
    ]
    assert {kind.exit_code for kind in kinds} == {2, 3, 4, 5, 6, 7, 8, 9, 130, 141}
    assert len(kinds) > 10


def test_an_error_keeps_its_message_and_its_hint() -> None:
    failure = errors.UsageError("where: what", hint="do this")
    assert (str(failure), failure.message, failure.hint) == ("where: what", "where: what", "do this")
    placed = errors.DataError(Path("a.yaml"), 3, 7, "found x")
    assert (placed.message, placed.line, placed.column) == ("a.yaml:3:7: found x", 3, 7)


@pytest.mark.parametrize(
    ("message", "last"),
    [
        ("docker: exit status 1\n  | one\n  |   two  ", "two"),
        ("docker: no such program on PATH", "docker: no such program on PATH"),
    ],
)
def test_the_last_line_of_a_program(message: str, last: str) -> None:
    assert ProgramError(message).last_line == last


def test_causes_are_found_wherever_a_library_keeps_them() -> None:
    """As `raise ... from`, in `args` and as `reason`, as in requests and urllib3; and a circle ends."""
    refused = ConnectionRefusedError("refused")
    wrapped = OSError("Connection aborted.", refused)
    outer = RuntimeError("no answer")
    outer.__cause__ = wrapped
    refused.__context__ = outer
    assert list(causes(outer)) == [outer, wrapped, refused]
    retried = OSError("retries")
    retried.reason = refused  # type: ignore[attr-defined]
    assert refused in set(causes(retried))


# --- what the system refuses --------------------------------------------------------------------------------


def refused(number: int, path: Path | str | None = None) -> OSError:
    return OSError(number, os.strerror(number), None if path is None else str(path))


@pytest.mark.parametrize(
    ("number", "words", "step"),
    [
        (errno.EACCES, "this user may not use it", "`ls -ld PLACE` shows whose it is"),
        (errno.EPERM, "this user may not use it", "`ls -ld PLACE` shows whose it is"),
        (errno.EROFS, "lies on a disk that can only be read", "`df PLACE` shows which disk it is"),
        (errno.ENOSPC, "the disk is full", "`df -h PLACE` shows it; make room there"),
        (errno.EDQUOT, "this user's share of the disk is used up", "`df -h PLACE`"),
        (errno.ENOTDIR, "leads through a file, expected folders only", "`ls -ld PLACE` is the file"),
        (errno.ENAMETOOLONG, "is longer than a path or a name can be", "below PLACE"),
        (errno.ELOOP, "its links lead in a circle", "`ls -ld PLACE`"),
        (errno.EMFILE, "this process may not open more files", "`ulimit -n 4096`"),
        (errno.ENFILE, "this host cannot open more files", "`cat /proc/sys/fs/file-nr`"),
        (errno.EIO, "the disk or medium does not answer as it should", "`df PLACE`"),
        (errno.ESTALE, "the disk or medium does not answer as it should", "`df PLACE`"),
        (errno.EINVAL, "is no name that this disk takes", "`df -T PLACE`"),
        (errno.EUCLEAN, "Structure needs cleaning", "`ls -ld PLACE`"),  # one that the table does not have
    ],
)
def test_what_the_system_refuses_is_said_with_a_step_about_what_is_there(
    tmp_path: Path, number: int, words: str, step: str
) -> None:
    """The path itself is not there, and has a blank."""
    place = tmp_path / "a b"
    place.mkdir()
    said = refused_by_system(refused(number, place / "not/there"))
    assert isinstance(said, PreflightError)
    assert said.message == f"{place / 'not/there'}: {words}"
    assert step.replace("PLACE", f"'{place}'") in said.hint
    assert said.hint.count("`") == 2 * ("`" in step)


def test_an_error_without_a_path_is_of_a_file_system_or_a_fault_of_ours() -> None:
    full = refused_by_system(refused(errno.ENOSPC))
    assert full is not None
    assert full.message == "the disk is full"
    assert refused_by_system(refused(errno.ECONNREFUSED)) is None
    assert refused_by_system(refused(errno.EINVAL)) is None
    assert refused_by_system(OSError("of a library")) is None


def test_a_folder_for_temporary_files_that_is_not_there() -> None:
    said = refused_by_system(FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/x']"))
    assert said is not None
    assert said.message == "No usable temporary directory found in ['/x']"
    assert "TMPDIR" in said.hint


def test_a_place_and_a_class_can_be_given() -> None:
    said = refusal(refused(errno.EIO), "standard output", raising=BundleError)
    assert isinstance(said, BundleError)
    assert said.message == "standard output: the disk or medium does not answer as it should"


@pytest.mark.parametrize(
    "word",
    ["plain", "a b", "it's", "$HOME`x`", "new\nline", "\x1b[2J", "\udcff", "back\\slash\x01'", "ü\x85"],
)
def test_a_quoted_word_is_what_a_shell_reads(word: str) -> None:
    printed = subprocess.run(
        ["bash", "-c", f"printf %s {quoted(word)}"],
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    ).stdout
    assert printed == os.fsencode(word)
    assert quoted(word).isprintable()


def test_what_is_not_utf8() -> None:
    with pytest.raises(UnicodeEncodeError) as name:
        "scan\udcff.pdf".encode()
    said = not_utf8(name.value)
    assert isinstance(said, UsageError)
    assert said.message == "scan\udcff.pdf: is not UTF-8"
    with pytest.raises(UnicodeDecodeError) as content:
        b"IMAGE=\xe4".decode()
    said = not_utf8(content.value)
    assert isinstance(said, ConfigurationError)
    assert "found the byte 0xe4 in 'IMAGE=\N{REPLACEMENT CHARACTER}'" in said.message
    with pytest.raises(UnicodeEncodeError) as other:
        "ü".encode("ascii")
    assert not_utf8(other.value) is None
