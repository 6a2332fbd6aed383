"""The folder of a stack: opening it, calling Compose for it, and reading what it resolves to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.errors import ConfigurationError, UsageError
from paddock.stack.configuration import read_configuration
from paddock.stack.folder import StackFolder, open_folder

MakeProgram = Callable[[str, str], None]


def test_a_folder(folder: Path) -> None:
    opened = open_folder(str(folder))
    assert opened is not None
    assert (opened.path, opened.name, opened.options) == (folder, str(folder), "")


def test_the_name_of_a_target_is_no_folder() -> None:
    assert open_folder("cpu") is None


def test_a_folder_without_a_compose_file(tmp_path: Path) -> None:
    for path in (str(tmp_path), ".", ".."):
        with pytest.raises(UsageError, match=r"found no compose\.yaml there"):
            open_folder(path)


@pytest.mark.parametrize("name", ["Other", "-x", "a b", "", "ü"])
def test_project_names_that_compose_refuses(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--project"):
        open_folder(str(folder), project=name)


def test_commands_can_be_pasted(program: MakeProgram, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("docker", "echo 2.26.1")
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    monkeypatch.chdir(folder.parent)
    stack = StackFolder(path=folder, name="cpu")
    assert stack.command_line("down") == "(cd cpu && docker compose down)"
    other = StackFolder(path=folder, name="cpu", project="other", environment={"API_PORT": "80 81"})
    assert other.command_line("up", "--detach") == (
        "(cd cpu && API_PORT='80 81' docker compose --project-name other up --detach)"
    )


def test_a_compose_file_of_the_users_shell_does_not_count(
    program: MakeProgram, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("docker", "echo 2.26.1")
    monkeypatch.setenv("COMPOSE_FILE", "/elsewhere/compose.yaml")
    stack = StackFolder(path=folder, name="cpu")
    assert stack.argv("ps") == ["docker", "compose", "--file=compose.yaml", "ps"]
    (folder / "compose.override.yaml").write_text("services: {}\n")
    assert "--file=compose.override.yaml" in stack.argv("ps")
    (folder / ".env").write_text("COMPOSE_FILE=compose.yaml:fetch.yaml\n")
    assert stack.argv("ps")[2:] == ["--file=compose.yaml", "--file=fetch.yaml", "ps"]


def test_a_site_is_one_more_file(program: MakeProgram, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("docker", "echo 2.26.1")
    stack = StackFolder(path=folder, name="cpu")
    with pytest.raises(UsageError, match=r"cpu: found no site\.yaml") as refused:
        stack.with_site()
    assert "`paddock render`" in refused.value.hint
    (folder / "site.yaml").write_text("services: {}\n")
    (folder / "compose.override.yaml").write_text("services: {}\n")
    site = stack.with_site()
    files = "compose.yaml:compose.override.yaml:site.yaml"
    assert site.command_line("up").endswith(f"COMPOSE_FILE={files} docker compose up)")
    assert site.with_site() == site
    assert site.without_site().environment["COMPOSE_FILE"] == "compose.yaml:compose.override.yaml"
    (folder / ".env").write_text("COMPOSE_FILE=compose.yaml:fetch.yaml:site.yaml\n")
    assert stack.with_site().environment["COMPOSE_FILE"] == "compose.yaml:fetch.yaml:site.yaml"
    monkeypatch.setenv("COMPOSE_FILE", "/elsewhere/compose.yaml")
    assert site.argv("ps") == ["docker", "compose", "ps"], "its own choice goes before the shell's"


def test_what_a_stack_resolves_to(program: MakeProgram, folder: Path) -> None:
    resolved = {"name": "paddock-cpu", "services": {"vlm": {"image": "paddock/cpu-vllm:0.1.0"}}}
    (folder / "answer.json").write_text(json.dumps(resolved))
    program(
        "docker",
        'case "$*" in *version*) echo 2.26.1;; "compose config --format json") cat answer.json;; esac',
    )
    assert StackFolder(path=folder, name="cpu").read() == read_configuration(resolved)


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            "error while interpolating a: required variable NO_UPSTREAM_IMAGES is missing a value: why",
            "cpu: IMAGES=upstream: why",
            "paddock build cpu --offline",
        ),
        (
            "open /srv/cpu/images/theirs.yaml: no such file or directory",
            'cpu: IMAGES: found "theirs", expected own or upstream',
            "correct IMAGES",
        ),
    ],
)
def test_images_that_cannot_be(
    program: MakeProgram, folder: Path, said: str, message: str, hint: str
) -> None:
    program("docker", f"""case "$*" in *version*) echo 2.26.1;; *) echo '{said}' >&2; exit 1;; esac""")
    with pytest.raises(ConfigurationError) as refused:
        StackFolder(path=folder, name="cpu", options="cpu --offline").read()
    assert refused.value.message == message
    assert hint in refused.value.hint


def test_settings_reach_compose(program: MakeProgram, folder: Path) -> None:
    program("docker", 'case "$*" in *version*) echo 2.26.1;; *) echo "port $API_PORT" >&2; exit 14;; esac')
    stack = StackFolder(path=folder, name="cpu", environment={"API_PORT": "8099"})
    with pytest.raises(ConfigurationError, match=r"compose\.yaml: Compose refuses it: port 8099") as refused:
        stack.read()
    assert "config --quiet" in refused.value.hint


def test_dollars_are_as_docker_compose_has_them(program: MakeProgram, folder: Path) -> None:
    """`docker compose config` prints two for one, so that its output could be read as a file again."""
    volume = {"type": "bind", "source": "/srv/d$$/models", "target": "/models"}
    service = {"image": "x", "volumes": [volume], "environment": {"A": "$$$$"}}
    (folder / "answer.json").write_text(json.dumps({"name": "x", "services": {"vlm": service}}))
    program("docker", 'case "$*" in *version*) echo 2.26.1;; *) cat answer.json;; esac')
    (vlm,) = StackFolder(path=folder, name="cpu").read().services
    assert vlm.binds[0].source == Path("/srv/d$/models")
    assert vlm.environment == {"A": "$$"}


def test_settings_are_read_as_compose_reads_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIRS", "shell")
    monkeypatch.delenv("OURS", raising=False)
    (folder / ".env").write_bytes(b"\xef\xbb\xbfexport OURS = '$x' # c\nTHEIRS=file\nNAME=caf\xe9\n")
    stack = StackFolder(path=folder, name="cpu")
    assert stack.setting("OURS", "default") == "$x"
    assert stack.setting("THEIRS", "default") == "shell"
    assert stack.setting("ABSENT", "default") == "default"
    assert stack.with_environment({"OURS": "option"}).setting("OURS", "default") == "option"


def test_commands_of_paddock_can_be_pasted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    stack = StackFolder(path=Path("/srv/a b"), name="x", project="other")
    assert stack.paddock("up") == "paddock up '/srv/a b' --project other"
    assert stack.paddock("config set", "A=b c") == "paddock config set '/srv/a b' 'A=b c'"
    assert (
        StackFolder(path=folder, name="x", options="cpu --offline").paddock("up")
        == "paddock up cpu --offline"
    )
