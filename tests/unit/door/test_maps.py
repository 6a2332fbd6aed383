"""What HAProxy is told of keys: files first, then its memory through its socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import maps
from keyfile import Key

KEYS = [
    Key(digest="a" * 64, name="scanner", vlm=False, limits={}),
    Key(digest="b" * 64, name="openai", vlm=True, limits={"at-once": 4}),
]


class Listener:
    """A socket like HAProxy's, which keeps what it was told and answers as HAProxy does."""

    def __init__(self, path: Path) -> None:
        self.told: list[str] = []
        self.refuse = ""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                command = connection.recv(1 << 16).decode()
                self.told.append(command)
                prepared = command.startswith("prepare")
                answer = "New version created: 7\n" if prepared else self.refuse or "\n"
                connection.sendall(answer.encode())

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr(maps, "SOCKET", tmp_path / "socket")
    monkeypatch.setattr(maps, "FOLDER", tmp_path / "maps")
    made = Listener(tmp_path / "socket")
    yield made
    made.close()


def test_the_maps_of_some_keys() -> None:
    assert maps.of(KEYS, "secret") == {
        "keys": {"a" * 64: "scanner", "b" * 64: "openai"},
        "vlm": {"openai": "1"},
        "upstream": {"vlm": "secret"},
        "at-once": {"openai": "4"},
        "per-minute": {},
        "mib-per-hour": {},
    }
    assert maps.of([], "")["upstream"] == {}


def test_each_map_is_a_file(tmp_path: Path, listener: Listener) -> None:
    maps.write(maps.of(KEYS, ""))
    folder = tmp_path / "maps"
    assert (folder / "keys.map").read_text() == f"{'a' * 64} scanner\n{'b' * 64} openai\n"
    assert (folder / "upstream.map").read_text() == ""
    assert sorted(path.suffix for path in folder.iterdir()) == [".map"] * 6


def test_a_map_is_changed_in_one_step(tmp_path: Path, listener: Listener) -> None:
    maps.send({"keys": {str(number): "name" for number in range(maps.AT_A_TIME + 1)}})
    path = tmp_path / "maps/keys.map"
    prepare, first, second, commit = listener.told
    assert prepare == f"prepare map {path}\n"
    assert first.startswith(f"add map @7 {path} <<\n0 name\n1 name\n")
    assert first.endswith("\n\n"), "HAProxy takes an empty line for the end"
    assert second == f"add map @7 {path} <<\n{maps.AT_A_TIME} name\n\n"
    assert commit == f"commit map @7 {path}\n"


def test_an_empty_map_is_emptied(listener: Listener) -> None:
    maps.send({"keys": {}})
    assert [command.split()[0] for command in listener.told] == ["prepare", "commit"]


def test_what_haproxy_refuses_is_no_success(listener: Listener) -> None:
    listener.refuse = "Unknown map identifier\n"
    with pytest.raises(maps.Refused, match="Unknown map identifier"):
        maps.send({"keys": {"a": "b"}})
