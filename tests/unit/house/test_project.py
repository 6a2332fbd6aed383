"""The project keeps its own rules: the door is complete, scripts are sound, everything is pinned."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from repository import REPOSITORY

PACKAGE = REPOSITORY / "tool" / "paddock"

# A committed file names no package host (sites use mirrors; the machine's own settings say which) and no
# place of one developer's machine. Written in two halves, or this file would break its own rule.
FORBIDDEN = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "deb." + "debian.org",
    "security." + "debian.org",
    "/" + "work/",
    "/opt/" + "wheels",
]


def committed() -> list[Path]:
    """Files of the working tree that git keeps or would keep; without git (a source archive), nothing."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        return []
    listed = subprocess.run(
        [
            "git",
            "-c",
            f"safe.directory={REPOSITORY}",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    return [path for path in files if path.is_file()]


def test_no_forbidden_words() -> None:
    files = committed()
    if not files:
        pytest.skip("not a git working tree")
    found = []
    for path in files:
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # a picture or another binary file
        found += [f"{path.relative_to(REPOSITORY)}: {word}" for word in FORBIDDEN if word in text]
    assert not found, "\n".join(found)


# --- the door -----------------------------------------------------------------------------------------------


def make(*arguments: str) -> str:
    done = subprocess.run(
        ["make", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True, env=_without_make()
    )
    return done.stdout


def _without_make() -> dict[str, str]:
    """The environment less what an outer `make test` put there."""
    return {
        key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    }


def makefile_targets() -> list[str]:
    text = (REPOSITORY / "Makefile").read_text("utf-8")
    return re.findall(r"^([A-Za-z][\w.-]*):(?!=)", text, flags=re.MULTILINE)


def test_make_alone_prints_every_verb_and_every_variable() -> None:
    printed = make()
    assert set(re.findall(r"^  make ([\w-]+) ", printed, flags=re.MULTILINE)) == set(makefile_targets())
    settable = re.findall(r"^(\w+) \?=", (REPOSITORY / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    assert settable
    assert [name for name in settable if not re.search(rf"^  {name} ", printed, flags=re.MULTILINE)] == []


@pytest.mark.parametrize("verb", ["build", "up", "down", "status", "logs"])
def test_the_door_knows_the_offline_variant_by_both_names(verb: str) -> None:
    def asked(*variables: str) -> list[str]:
        return make("--dry-run", verb, "TARGET=sm120", *variables).splitlines()[-1].split()[-2:]

    assert asked("OFFLINE=1") == ["sm120", "--offline"]
    for variables in ((), ("OFFLINE=",), ("OFFLINE=0",), ("OFFLINE=no",), ("OFFLINE=false",)):
        assert asked(*variables) == [verb, "sm120"]
    assert asked("TARGET=sm120-offline") == [verb, "sm120-offline"]  # the tool's commands take that apart


def test_every_make_target_is_phony_and_named_once() -> None:
    text = (REPOSITORY / "Makefile").read_text("utf-8")
    phony = re.findall(r"^\.PHONY: (\S+)$", text, flags=re.MULTILINE)
    assert phony == makefile_targets()
    assert len(set(phony)) == len(phony)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_ci_runs_the_two_commands_of_the_readme(readme: str) -> None:
    ci = (REPOSITORY / ".ci" / "run").read_text("utf-8")
    text = (REPOSITORY / readme).read_text("utf-8")
    for command in ("make demo", "make test"):
        assert re.search(rf"^\s*(\$ )?{command}\b", text, flags=re.MULTILINE), (
            f"{readme} does not show {command}"
        )
        assert command in ci


# --- scripts ------------------------------------------------------------------------------------------------

SCRIPTS = [
    REPOSITORY / ".ci" / "run",
    *sorted((REPOSITORY / "scripts").rglob("*.*")),
    PACKAGE / "building" / "make-base.sh",
]
SHELL_SCRIPTS = [path for path in SCRIPTS if path.suffix in {".sh", ""} and path.is_file()]
SCRIPTS = [path for path in SCRIPTS if path.suffix != ".pyc" and path.read_bytes().startswith(b"#!")]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable_and_say_what_they_are_for(path: Path) -> None:
    assert os.access(path, os.X_OK)
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] in {"#!/usr/bin/env bash", "#!/usr/bin/env python3"}
    assert lines[1].startswith(("# ", '"""')), "the second line says what the script is for"


@pytest.mark.parametrize("path", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_stop_at_the_first_error(path: Path) -> None:
    assert re.search(r"^set -euo pipefail$", path.read_text("utf-8"), flags=re.MULTILINE)


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    assert shellcheck.exists(), "shellcheck is not in the development environment; make python"
    below_templates = sorted((REPOSITORY / "templates").rglob("*.sh"))
    checked = subprocess.run(
        [shellcheck, *SHELL_SCRIPTS, *below_templates], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_make_base_answers_wrong_usage_and_a_missing_engine() -> None:
    script = REPOSITORY / "tool/paddock/building/make-base.sh"
    usage = subprocess.run([script, "only-one"], capture_output=True, text=True, check=False)
    assert (usage.returncode, "usage: make-base.sh" in usage.stderr) == (2, True)
    platform = subprocess.run(
        [script, "--platform", "linux/s390x", "x:y", "bookworm"], capture_output=True, text=True, check=False
    )
    assert (platform.returncode, "s390x" in platform.stderr) == (2, True)
    engine = subprocess.run(
        [script, "debian:bookworm-slim", "bookworm"], capture_output=True, text=True, check=False
    )
    assert engine.returncode == 5
    assert engine.stderr.startswith("error: make-base.sh: the Docker Engine does not answer\nhint: ")


# --- pins ---------------------------------------------------------------------------------------------------


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    named = (name for group in groups.values() for name in group if isinstance(name, str))
    wanted = [*project["project"]["dependencies"], *named]
    names = {_normal(re.match(r"[\w.-]+", requirement)) for requirement in wanted}
    pins = (REPOSITORY / "constraints.txt").read_text("utf-8")
    pinned = {
        _normal(re.match(r"[\w.-]+(?===)", line))
        for line in pins.splitlines()
        if not line.startswith(("#", " "))
    }
    assert names
    assert names <= pinned, f"make lock; not in constraints.txt: {sorted(names - pinned)}"


def _normal(name: re.Match[str] | None) -> str:
    assert name is not None
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def test_the_sample_document_is_there() -> None:
    assert (REPOSITORY / "docs/sample/receipt.pdf").read_bytes().startswith(b"%PDF-")
    assert (REPOSITORY / "docs/sample/receipt.png").read_bytes().startswith(b"\x89PNG")


# --- the rule about engines ---------------------------------------------------------------------------------

PROBE = "import pytest\n\n@pytest.mark.engine\ndef test_it():\n    pass\n"


@pytest.mark.parametrize(
    ("variable", "outcome"),
    [({}, "1 skipped"), ({"CI": "true"}, "1 error"), ({"PADDOCK_REQUIRE_ENGINE": "1"}, "1 error")],
)
def test_a_missing_engine_fails_where_one_was_promised(
    tmp_path: Path, variable: dict[str, str], outcome: str
) -> None:
    shutil.copy(REPOSITORY / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_probe.py").write_text(PROBE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = engine: needs one\n")
    clean = {key: value for key, value in os.environ.items() if key not in {"CI", "PADDOCK_REQUIRE_ENGINE"}}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env={**clean, **variable},
    )
    assert outcome in ran.stdout
    assert (ran.returncode == 0) == ("skipped" in outcome)


def test_a_unit_test_cannot_run_docker() -> None:
    ran = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (97, "a unit test ran docker\n")
