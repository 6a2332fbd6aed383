"""Finding a stack's folder, calling Compose for it, and reading what it comes to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from paddock import paths
from paddock.errors import ConfigurationError, UsageError
from paddock.render.stackfolders import locate
from paddock.stack.configuration import Bind, Published, seconds
from paddock.stack.folder import StackFolder

RESOLVED = {
    "name": "paddock-cpu",
    "services": {
        "api": {
            "image": "paddock/cpu-api:0.1.0",
            "pull_policy": "never",
            "ports": [
                {"host_ip": "127.0.0.1", "target": 8080, "published": "8080"},
                {"target": 9, "published": ""},
            ],
            "mem_limit": "8589934592",
            "environment": {"A": "1", "EMPTY": None},
            "healthcheck": {"start_period": "10m0s"},
            "volumes": [
                {"type": "bind", "source": "/srv/models", "target": "/models"},
                {"type": "volume", "source": "key", "target": "/var/lib/paddock"},
            ],
        },
        "vlm": {"image": "paddock/cpu-vllm:0.1.0"},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "srv" / "cpu"
    path.mkdir(parents=True)
    (path / "compose.yaml").write_text("services: {}\n")
    return path


@pytest.fixture
def workspace(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "workspace"
    shutil.copytree(repository / "compose/cpu", root / "compose/cpu")
    monkeypatch.setenv("PADDOCK_ROOT", str(root))
    return root


def test_a_folder(folder: Path) -> None:
    assert locate(str(folder)).path == folder


def test_a_target(workspace: Path) -> None:
    found = locate("cpu")
    assert (found.path, found.called, found.options) == (workspace / "compose/cpu", "cpu", "cpu")


@pytest.mark.parametrize("target", ["cpu", "sm120", "cu126-8x80g"])
def test_the_offline_variant_has_two_names(workspace: Path, report, target: str) -> None:
    by_name = locate(f"{target}-offline", report=report)
    assert by_name == locate(target, offline=True, report=report)
    assert by_name == locate(f"{target}-offline", offline=True, report=report)
    assert by_name.path == workspace / "compose" / f"{target}-offline"
    assert by_name.options == f"{target} --offline"


def test_a_folder_has_no_choices(folder: Path) -> None:
    with pytest.raises(UsageError, match="a folder's stack is fixed"):
        locate(str(folder), offline=True)


def test_a_folder_without_a_compose_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found no compose\.yaml there"):
        locate(str(tmp_path))


def test_an_unknown_target(workspace: Path) -> None:
    with pytest.raises(UsageError, match='unknown target "cpuu": did you mean "cpu"'):
        locate("cpuu")


@pytest.mark.parametrize("name", ["Other", "-x", "a b", "", "ü"])
def test_project_names_that_compose_refuses(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="--project"):
        locate(str(folder), project=name)


def test_a_stack_without_a_folder_is_rendered(workspace: Path, report) -> None:
    found = locate("cpu", model="paddleocr-vl", offline=True, report=report)
    assert found.path == workspace / "compose/cpu-paddleocr-vl-offline"
    assert found.options == "cpu --model paddleocr-vl --offline"
    made = sorted(path.name for path in found.path.iterdir())
    assert made == [".env", "compose.yaml", "images", "pipeline.yaml", "vlm.yaml"]
    assert "cpu-paddleocr-vl-offline" in (workspace / "images/docker-bake.hcl").read_text()
    assert "rendering what is missing" in report.said[0]


def test_a_stack_without_a_folder_cannot_be_stopped(workspace: Path) -> None:
    with pytest.raises(UsageError, match="never started from here"):
        locate("cpu", model="paddleocr-vl")
    assert not (workspace / "compose/cpu-paddleocr-vl").exists()


def test_commands_can_be_pasted(program, folder: Path, monkeypatch) -> None:
    program("docker", "echo 2.26.1")
    monkeypatch.delenv("COMPOSE_FILE", raising=False)
    monkeypatch.chdir(folder.parent)
    assert locate("./cpu").command_line("down") == "(cd cpu && docker compose down)"
    stack = locate("./cpu", project="other", environment={"API_PORT": "8081"})
    assert stack.command_line("up", "--detach") == (
        "(cd cpu && API_PORT=8081 docker compose --project-name other up --detach)"
    )


def test_somebody_elses_compose_file_does_not_count(program, folder: Path, monkeypatch) -> None:
    program("docker", "echo 2.26.1")
    monkeypatch.setenv("COMPOSE_FILE", "/elsewhere/compose.yaml")
    assert locate(str(folder)).argv("ps") == ["docker", "compose", "--file=compose.yaml", "ps"]
    (folder / "compose.override.yaml").write_text("services: {}\n")
    assert "--file=compose.override.yaml" in locate(str(folder)).argv("ps")
    (folder / ".env").write_text("COMPOSE_FILE=compose.yaml:fetch.yaml\n")
    assert locate(str(folder)).argv("ps")[2:] == ["--file=compose.yaml", "--file=fetch.yaml", "ps"]


def test_what_a_stack_comes_to(program, folder: Path) -> None:
    (folder / "answer.json").write_text(json.dumps(RESOLVED))
    program(
        "docker",
        'case "$*" in *version*) echo 2.26.1;; "compose config --format json") cat answer.json;; esac',
    )
    configuration = StackFolder(path=folder, called="cpu").read()
    assert configuration.project == "paddock-cpu"
    api, vlm = configuration.services
    assert api.published == (Published(host="127.0.0.1", port=8080),)
    assert api.binds == (Bind(source=Path("/srv/models"), target="/models"),)
    assert (api.memory, api.start_period, api.pull_policy) == (8 * 2**30, 600.0, "never")
    assert api.environment == {"A": "1", "EMPTY": ""}
    assert (vlm.memory, vlm.start_period, vlm.pull_policy, vlm.published, vlm.binds) == (
        None,
        0.0,
        "",
        (),
        (),
    )


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
def test_images_that_cannot_be(program, folder: Path, said: str, message: str, hint: str) -> None:
    program("docker", f"""case "$*" in *version*) echo 2.26.1;; *) echo '{said}' >&2; exit 1;; esac""")
    with pytest.raises(ConfigurationError) as refused:
        StackFolder(path=folder, called="cpu", options="cpu --offline").read()
    assert refused.value.message == message
    assert hint in refused.value.hint


def test_settings_reach_compose(program, folder: Path) -> None:
    program("docker", 'case "$*" in *version*) echo 2.26.1;; *) echo "port $API_PORT" >&2; exit 14;; esac')
    stack = StackFolder(path=folder, called="cpu", environment={"API_PORT": "8099"})
    with pytest.raises(ConfigurationError, match=r"compose\.yaml: Compose refuses it: port 8099") as refused:
        stack.read()
    assert "config --quiet" in refused.value.hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("10m0s", 600), ("1h2m3s", 3723), ("1.5s", 1.5), ("500ms", 0.5), ("90s", 90)],
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


def test_what_is_missing_in_a_folder_is_rendered_and_the_rest_kept(workspace: Path, report) -> None:
    folder = workspace / "compose/cpu"
    (folder / "vlm.yaml").unlink()
    (folder / "pipeline.yaml").write_text("somebody's own")
    locate("cpu", report=report)
    assert (folder / "vlm.yaml").is_file()
    assert (folder / "pipeline.yaml").read_text() == "somebody's own"


def test_module_needs_no_templates_for_a_folder(folder: Path, monkeypatch) -> None:
    def refuse() -> Path:
        raise AssertionError("templates were looked for")

    monkeypatch.setattr(paths, "templates", refuse)
    assert locate(str(folder)).options == ""
