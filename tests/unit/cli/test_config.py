"""`paddock config`: what it prints and with which status it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.door import run

MakeProgram = Callable[[str, str], None]


@pytest.fixture
def target(folder: Path, program: MakeProgram, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stack of one setting, which Compose finds good."""
    monkeypatch.delenv("API_PORT", raising=False)
    (folder / "compose.yaml").write_text("services: {api: {ports: ['${API_PORT:-8080}:80']}}\n")
    (folder / ".env").write_text("# The port.\nAPI_PORT=8081\n")
    answer = '{"name": "x", "services": {"api": {"ports": [{"published": "\'"$API_PORT"\'"}]}}}'
    program("docker", f"""case "$*" in *version*) echo 2.26.1;; *) echo '{answer}';; esac""")
    return str(folder)


def test_list_and_get(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "list", target]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["SETTING", "VALUE", "FROM", "MEANING"],
        ["API_PORT", "8081", ".env", "The", "port."],
        ["COMPOSE_FILE", "compose.yaml", "default"],
    ]
    assert run(["config", "get", target, "API_PORT"]) == 0
    assert capsys.readouterr().out == "8081\n"
    assert run(["config", "get", target, "API_PORT", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "API_PORT",
        "value": "8081",
        "default": "8080",
        "origin": ".env",
        "meaning": "The port.",
    }


def test_set_says_what_it_takes(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "set", target, "API_PORT=8082"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"API_PORT: 8081 -> 8082 in {target}/.env\n"
    assert f"takes effect when api is made anew: `paddock up {target}` does that" in printed.err
    assert run(["config", "set", target, "API_PORT=8082", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["services"] == ["api"]


def test_refusals(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "set", target, "API_PORT"]) == 2
    assert "found no =, expected NAME=VALUE" in capsys.readouterr().err
    assert run(["config", "set", target, "API_PROT=1"]) == 2
    assert 'did you mean "API_PORT"' in capsys.readouterr().err
