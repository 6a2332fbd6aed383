"""The settings of a stack: read with their origin, changed one at a time."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.errors import ConfigurationError, DataError, UsageError
from paddock.stack.folder import StackFolder
from paddock.stack.settings import HIDDEN, Origin, change, setting, settings
from recording import Recorder

MakeProgram = Callable[[str, str], None]

COMPOSE = """\
services:
  api:
    image: ${IMAGE:-x}
    mem_limit: ${API_MEMORY:-8g}
    environment: {P: "${HTTPS_PROXY:-${https_proxy:-}}", K: "${HF_TOKEN:-}", C: "${CA:+/ca.pem}"}
    command: ["${NEVER:?no}"]
    volumes: ["${API_KEYS_DIR:-/dev/null}:/keys"]
"""
ENV = b"""\
# Generated.

# Memory that it may
# use.
API_MEMORY='9g' # ours
IMAGE=

# Proxies.
HTTPS_PROXY=http://me:secret@proxy:3128
HF_TOKEN=hf_x
"""
# Answers as Compose does: a document whose one service has the memory limit of the environment.
CONFIG = """
case "$*" in
    *version*) echo 2.26.1 ;;
    *) test "$API_MEMORY" != wrong || { echo "invalid size: 'wrong'" >&2; exit 1; }
       echo '{"name": "x", "services": {"api": {"environment": {"A": "'"$API_MEMORY"'"}}, "vlm": {}}}' ;;
esac
"""


@pytest.fixture
def stack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    for name in ("API_MEMORY", "IMAGE", "HTTPS_PROXY", "HF_TOKEN", "CA", "API_KEYS_DIR", "COMPOSE_FILE"):
        monkeypatch.delenv(name, raising=False)
    (folder / "compose.yaml").write_text(COMPOSE)
    (folder / ".env").write_bytes(ENV)
    return StackFolder(path=folder, name="cpu")


def test_every_setting_with_its_value_origin_and_meaning(
    stack: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CA", "/etc/ca.pem")
    monkeypatch.setenv("IMAGE", "")
    found = [(known.name, known.value, known.origin, known.meaning) for known in settings(stack)]
    assert found == [
        ("API_MEMORY", "9g", Origin.FILE, "Memory that it may use."),
        ("IMAGE", "x", Origin.DEFAULT, "Memory that it may use."),
        ("HTTPS_PROXY", f"http://{HIDDEN}@proxy:3128", Origin.FILE, "Proxies."),
        ("HF_TOKEN", HIDDEN, Origin.FILE, "Proxies."),
        ("API_KEYS_DIR", "", Origin.DEFAULT, ""),
        ("CA", "/etc/ca.pem", Origin.ENVIRONMENT, ""),
        ("COMPOSE_FILE", "compose.yaml", Origin.DEFAULT, ""),
    ]


def test_a_stack_without_env_file_has_its_defaults(stack: StackFolder) -> None:
    (stack.path / ".env").unlink()
    assert (setting(stack, "API_MEMORY").value, setting(stack, "API_MEMORY").origin) == ("8g", Origin.DEFAULT)


def test_an_unknown_name_suggests_the_nearest(stack: StackFolder, report: Recorder) -> None:
    with pytest.raises(UsageError, match='unknown setting "API_MEMROY": did you mean "API_MEMORY"'):
        setting(stack, "API_MEMROY")
    with pytest.raises(UsageError, match='unknown setting "NEVER"'):
        change(stack, "NEVER", "1", report=report)
    assert (stack.path / ".env").read_bytes() == ENV


def test_a_change_touches_nothing_else(stack: StackFolder, program: MakeProgram, report: Recorder) -> None:
    program("docker", CONFIG)
    path = stack.path / ".env"
    path.chmod(0o600)
    done = change(stack, "API_MEMORY", "12g", report=report)
    assert path.read_bytes() == ENV.replace(b"'9g'", b"12g")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (done.before, done.after, done.services, done.hidden_by) == ("9g", "12g", ("api",), None)
    assert setting(stack, "API_MEMORY").value == "12g"
    assert change(stack, "HF_TOKEN", "it's $secret", report=report).after == HIDDEN
    assert stack.settings()["HF_TOKEN"] == "it's $secret"


def test_a_value_that_compose_refuses_is_not_written(
    stack: StackFolder, program: MakeProgram, report: Recorder
) -> None:
    program("docker", CONFIG)
    with pytest.raises(ConfigurationError, match="invalid size: 'wrong'"):
        change(stack, "API_MEMORY", "wrong", report=report)
    assert (stack.path / ".env").read_bytes() == ENV


def test_a_variable_of_the_shell_counts_first(
    stack: StackFolder, program: MakeProgram, report: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("docker", CONFIG)
    monkeypatch.setenv("API_MEMORY", "1g")
    assert change(stack, "API_MEMORY", "12g", report=report).hidden_by == "1g"
    assert setting(stack, "API_MEMORY").origin is Origin.ENVIRONMENT


def test_a_file_that_compose_refuses_is_named(stack: StackFolder) -> None:
    (stack.path / ".env").write_bytes(b"API_MEMORY='8g\n")
    with pytest.raises(DataError, match=r"\.env:1:12: found no closing '"):
        settings(stack)
