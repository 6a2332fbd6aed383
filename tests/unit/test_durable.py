"""Files that are whole or absent, locks between processes, and free space."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from paddock import durable
from paddock.errors import BundleError, PreflightError, WeightsError

DiskUsage = namedtuple("DiskUsage", ["total", "used", "free"])

HOLDER = """
import sys
from pathlib import Path
from paddock.durable import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock, until its standard input ends."""
    argv = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder
        holder.communicate("")


# --- writing ------------------------------------------------------------------------------------------------


def test_a_file_is_written_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write_durably(path, b"old")
    durable.write_durably(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    durable.write_durably(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as refused:
        durable.write_durably(path, b"new")
    assert refused.value.filename == str(path)  # which a write to a descriptor does not say
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", ["7", "1"])
def test_a_killed_write_is_in_nobodys_way(
    tmp_path: Path, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container every process has the same few numbers."""
    monkeypatch.setattr("os.getpid", lambda: int(number))
    for name in (f"state.{number}.partial", "state.0123abcd.partial"):
        (tmp_path / name).mkdir()  # not even unlink helps here
    durable.write_durably(tmp_path / "state", b"whole")
    assert (tmp_path / "state").read_bytes() == b"whole"


def test_two_processes_with_the_same_number_write_one_file(tmp_path: Path) -> None:
    """Two containers with a folder in common: neither takes away what the other is writing."""
    path, names = tmp_path / "state", set[str]()

    def looking(descriptor: int) -> None:
        names.update(entry.name for entry in tmp_path.iterdir())
        if len(names) == 1:
            durable.write_durably(path, b"of the other")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", looking)
        durable.write_durably(path, b"of the one")
    assert path.read_bytes() == b"of the one"
    assert len(names - {"state"}) == 2


def test_only_what_a_killed_write_of_this_file_left_long_ago_is_removed(tmp_path: Path) -> None:
    old, fresh, others = "a[1].0123abcd.partial", "a[1].4567abcd.partial", "a1.0123abcd.partial"
    for name in (old, fresh, others):
        (tmp_path / name).write_bytes(b"half of it")
    for name in (old, others):
        os.utime(tmp_path / name, (1, 1))
    durable.write_durably(tmp_path / "a[1]", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1]", fresh, others}


def test_a_file_is_given_to_a_group(tmp_path: Path) -> None:
    path = tmp_path / "file"
    group = max(os.getgroups(), default=os.getgid())
    durable.write_durably(path, b"", group=group)
    assert path.stat().st_gid == group


def test_a_name_that_is_taken_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write_durably(path, b"first", replace=False)
    with pytest.raises(FileExistsError):
        durable.write_durably(path, b"second", replace=False)
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_is_taken_is_kept_on_a_file_system_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.link", refuse)
    test_a_name_that_is_taken_is_kept(tmp_path)


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "file"
    words = f"{path}: cannot be written \\(No such file"
    with pytest.raises(BundleError, match=words) as refused, durable.writing(path):
        durable.write_durably(path, b"")
    assert refused.value.hint == f"its folder is missing: `mkdir -p {path.parent}`, then repeat the command"


def test_the_error_is_of_the_class_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(WeightsError), durable.writing(tmp_path, raising=WeightsError):
        tmp_path.write_bytes(b"")


def test_other_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), durable.writing(tmp_path):
        raise ZeroDivisionError


def test_folders_and_disks_are_flushed(tmp_path: Path) -> None:
    durable.flush_folder(tmp_path)
    durable.flush_disk(tmp_path)
    durable.flush_disk(None)
    with pytest.raises(FileNotFoundError):
        durable.flush_disk(tmp_path / "missing")


@pytest.mark.parametrize("known", [True, False])
def test_writing_out_ends_with_its_context(tmp_path: Path, *, known: bool) -> None:
    with durable.writing_out(tmp_path if known else None):
        (tmp_path / "file").write_bytes(b"data")
    assert all(thread.name != "writing-out" for thread in threading.enumerate())


# --- locks --------------------------------------------------------------------------------------------------


def test_a_lock_makes_its_folder_and_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    for content in (b"1", b"2"):
        with durable.locked(path) as descriptor:
            os.pwrite(descriptor, content, 0)
        assert path.read_bytes() == content


def test_a_lock_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held_elsewhere(path), pytest.raises(BlockingIOError), durable.locked(path):
        pass
    with durable.locked(path):
        pass


def test_a_lock_is_waited_for_and_that_is_announced_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waits: list[str] = []
    with held_elsewhere(path) as holder:

        def announce() -> None:
            waits.append("waiting")
            assert holder.stdin is not None
            holder.stdin.close()
            holder.stdin = None  # `communicate` would close it again

        with durable.locked(path, waiting=announce):
            assert waits == ["waiting"]


def test_a_lock_file_that_its_holder_removed_is_not_mistaken_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    entered = threading.Event()
    with durable.locked(path):
        seen: list[int] = []

        def take() -> None:
            with durable.locked(path, waiting=entered.set):
                seen.append(path.stat().st_ino)

        thread = threading.Thread(target=take)
        thread.start()
        assert entered.wait(60)
        path.unlink()
    thread.join(60)
    assert seen == [path.stat().st_ino]


def test_a_folder_can_be_locked(tmp_path: Path) -> None:
    descriptors = [os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY) for _ in range(2)]
    try:
        durable.lock(descriptors[0])
        with pytest.raises(BlockingIOError):
            durable.lock(descriptors[1])
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


# --- free space ---------------------------------------------------------------------------------------------


def test_free_bytes_of_a_folder_that_is_to_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def disk_usage(path: Path) -> DiskUsage:
        asked.append(path)
        return DiskUsage(total=100, used=60, free=40)

    monkeypatch.setattr("shutil.disk_usage", disk_usage)
    assert durable.free_bytes(tmp_path / "not" / "yet") == 40
    monkeypatch.chdir(tmp_path)
    assert durable.free_bytes(Path("not/yet")) == 40
    assert asked == [tmp_path, tmp_path]


def test_a_file_system_that_does_not_say_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: DiskUsage(total=0, used=0, free=0))
    assert durable.free_bytes(tmp_path) is None
    durable.require_room(tmp_path, 1 << 60, "anything", hint="")


def test_room_that_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: DiskUsage(total=9999, used=0, free=1234))
    durable.require_room(tmp_path, 1234, "the layers", hint="")
    with pytest.raises(PreflightError) as refused:
        durable.require_room(tmp_path, 1235, "the layers", hint="make room")
    assert str(refused.value) == f"{tmp_path}: found 1,234 bytes free, expected 1,235 for the layers"
    assert refused.value.hint == "make room"
    with pytest.raises(BundleError):
        durable.require_room(tmp_path, 1235, "the layers", hint="", raising=BundleError)
