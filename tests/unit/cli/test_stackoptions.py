"""The arguments that name a stack: one record for the command, from a target or from a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from paddock import paths
from paddock.cli.stackoptions import StackChoice, complete_target, stack_options
from paddock.errors import UsageError
from paddock.matrix.load import load_registry
from paddock.matrix.records import Variant


def choice(arguments: Sequence[str], *, required: bool = True, project: bool = True) -> StackChoice:
    """What a command with these arguments is handed."""
    handed: list[StackChoice] = []

    @click.command()
    @stack_options("target", "TARGET", required=required, project=project)
    @click.option("--other", is_flag=True)
    def command(*, choice: StackChoice, other: bool) -> None:
        assert other is ("--other" in arguments)
        handed.append(choice)

    command.main(list(arguments), standalone_mode=False)
    return handed[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cpu"], StackChoice(target="cpu")),
        (["--offline", "cpu", "--other"], StackChoice(target="cpu", offline=True)),
        (
            ["cpu", "--backend", "llama.cpp", "--model", "embedded", "--project", "mine"],
            StackChoice(target="cpu", backend="llama.cpp", model="embedded", project="mine"),
        ),
    ],
)
def test_a_command_is_handed_one_record(arguments: list[str], expected: StackChoice) -> None:
    assert choice(arguments) == expected


def test_a_target_may_be_left_out_where_it_is_not_required() -> None:
    assert choice([], required=False) == StackChoice(target=None)
    with pytest.raises(click.MissingParameter):
        choice([])
    with pytest.raises(click.NoSuchOption):
        choice(["cpu", "--project", "x"], project=False)


@pytest.mark.parametrize("option", ["--backend", "--model", "--offline"])
def test_options_that_belong_to_a_target_are_told_from_a_project(option: str) -> None:
    assert choice(["cpu", option, *([] if option == "--offline" else ["x"])]).has_options
    assert not choice(["cpu", "--project", "x"]).has_options


def test_the_stack_of_a_choice() -> None:
    data = load_registry(paths.templates())
    stack = StackChoice(target="cpu", backend="llama.cpp", offline=True).stack(data)
    assert (stack.target.name, stack.backend.name, stack.variant) == ("cpu", "llama.cpp", Variant.OFFLINE)
    with pytest.raises(UsageError, match="found no TARGET") as refused:
        StackChoice(target=None).stack(data)
    assert "cpu" in refused.value.hint


def test_the_folder_of_a_choice(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    folder = StackChoice(target=str(tmp_path), project="mine").folder(environment={"API_PORT": "8081"})
    assert (folder.path, folder.project, dict(folder.environment)) == (tmp_path, "mine", {"API_PORT": "8081"})
    with pytest.raises(UsageError, match="a folder's stack is fixed"):
        StackChoice(target=str(tmp_path), offline=True).folder()
    with pytest.raises(UsageError, match="found no TARGET"):
        StackChoice(target=None).folder()


def complete(incomplete: str) -> list[str]:
    command = click.Command("x")
    return [
        item.value for item in complete_target(click.Context(command), click.Argument(["target"]), incomplete)
    ]


def test_targets_and_folders_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cpu-mine", "other"):
        (tmp_path / "stacks" / name).mkdir(parents=True)
        (tmp_path / "stacks" / name / "compose.yaml").touch()
    (tmp_path / "stacks/empty").mkdir()
    assert complete("cp") == ["cpu"]
    assert complete("stacks/") == ["stacks/cpu-mine", "stacks/other"]
    assert complete("./stacks/cp") == ["./stacks/cpu-mine"]
    assert complete(f"{tmp_path}/stacks/o") == [f"{tmp_path}/stacks/other"]
    monkeypatch.chdir(tmp_path / "stacks")
    assert complete("cpu") == ["cpu", "cpu-mine"]


def test_help_says_the_same_of_them_for_every_command() -> None:
    from paddock.cli import paddock  # noqa: PLC0415 - the group

    words = "Serving program, where it is not the target's default."
    for name in ("build", "render", "export", "tune", "up", "down", "status", "logs", "smoke"):
        shown = CliRunner().invoke(paddock, [name, "--help"]).output
        assert words in " ".join(shown.split()), name
