"""`paddock keys`, and the file that `--key-file` names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paddock.apikeys import accepted
from paddock.cli.keys import key_in
from paddock.door import run
from recording import Recorder


def test_a_key_from_its_making_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ["--file", str(tmp_path / "keys")]
    assert run(["keys", "add", "scanner", *file]) == 0
    printed = capsys.readouterr()
    key = printed.out.strip()
    assert key.startswith("pk_")
    assert key not in printed.err + (tmp_path / "keys").read_text()
    assert run(["keys", "add", "other", *file]) == 0
    capsys.readouterr()
    assert run(["keys", "list", *file]) == 0
    assert capsys.readouterr().out == "scanner\nother\n"
    assert run(["keys", "revoke", "scanner", *file]) == 0
    assert run(["keys", "list", *file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["keys"] == ["other"]
    assert run(["keys", "revoke", "scanner", *file]) == 2
    assert run(["keys", "list", "--file", str(tmp_path / "absent")]) == 3


def test_what_a_key_may_at_a_door(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = ["--file", str(tmp_path / "keys")]
    assert run(["keys", "add", "chat", "--allow", "vlm", "--at-once", "4", "--mib-per-hour", "9", *file]) == 0
    assert run(["keys", "add", "plain", *file]) == 0
    capsys.readouterr()
    assert run(["keys", "list", *file]) == 0
    assert capsys.readouterr().out == "chat allow=vlm at-once=4 mib-per-hour=9\nplain\n"
    assert run(["keys", "list", *file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["options"] == {"chat": "allow=vlm at-once=4 mib-per-hour=9"}
    assert run(["keys", "add", "root", "--allow", "everything", *file]) == 2
    assert run(["keys", "add", "none", "--at-once", "0", *file]) == 2


def test_a_file_that_the_api_could_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    accepted.add(path, "one")
    assert run(["keys", "add", "two", "--file", str(path)]) == 0
    warned = "`sudo chgrp 0" in capsys.readouterr().err
    assert warned is (path.stat().st_gid != 0)


def test_the_key_of_a_file(tmp_path: Path) -> None:
    report = Recorder()
    path = tmp_path / "key"
    path.write_text("pk_secret_of_mine\n")
    path.chmod(0o644)
    assert key_in(None, report) == ""
    assert key_in(path, report) == "pk_secret_of_mine"
    assert report.warned == [f"{path}: others on this machine can read this key: `chmod 600 {path}`"]
