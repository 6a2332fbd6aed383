"""`paddock doctor` as it is typed."""

from __future__ import annotations

import json

import pytest

from paddock.building import doctor
from paddock.building.doctor import Check
from paddock.door import run
from programs import paddock

CHECKS = [
    Check(what="Docker Engine", well=True, found="26.1.5 at the usual place\nand more"),
    Check(what="room on this disk", well=False, found="3 GB free", hint="30 GB are wanted"),
]


def test_without_an_engine_the_command_says_so_and_exits_9() -> None:
    done = paddock("doctor", "cpu-offline", "--json")
    assert done.returncode == 9
    assert "checks are not well" in done.stderr
    checks = {check["what"]: check for check in json.loads(done.stdout)}
    assert not checks["Docker Engine"]["well"]
    assert set(checks) == {"Docker Engine", "Docker Compose", "Docker Buildx", "room on this disk"}


def test_one_line_a_check_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "check_machine", lambda: list(CHECKS))
    assert run(["doctor"]) == 9
    printed = capsys.readouterr()
    rows = [line.split(maxsplit=1) for line in printed.out.splitlines()]
    assert [row[0] for row in rows] == ["CHECK", "well", "NOT"]
    assert rows[1][1].endswith("26.1.5 at the usual place")
    assert rows[2][1].endswith("3 GB free (30 GB are wanted)")
    assert "1 of 2 checks are not well\nhint: 30 GB are wanted" in printed.err


def test_an_unknown_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "cpuu"]) == 2
    assert 'unknown target "cpuu"' in capsys.readouterr().err
