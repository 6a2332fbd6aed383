"""The script that runs the tool's image: what it asks of docker, here of one that writes its words down."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from paddock import __version__
from paddock.matrix.images import TOOL
from paddock.render.renderer import WRAPPER
from repository import REPOSITORY

SHELLS = [name for name in ("dash", "busybox", "bash") if shutil.which(name)]
# What root's export and import see of the engine; only a containerd that dockerd did not start has a folder
# of its own.
ENGINE = {"/var/lib/docker", *(str(path) for path in [Path("/var/lib/containerd")] if path.is_dir())}
# Answers what the script asks for first; `docker run` is written to $WORDS, one word a line.
DOCKER = """#!/bin/sh
case $1 in
    context) echo "$ADDRESS" ;;
    info) [ -n "$FACTS" ] || { echo 'no daemon here' >&2; exit 1; }; echo "$FACTS" ;;
    image) [ "$3" = "$IMAGE" ] ;;
    run) printf '%s\\n' "$@" >"$WORDS"; exit 42 ;;
    *) exit 97 ;;
esac
"""


class Wrapper:
    """The script in a folder of its own, with this engine."""

    def __init__(self, folder: Path, shell: str) -> None:
        self.here = folder / "a site"
        self.here.mkdir()
        self.state, self.keys = folder / "state", folder / "etc"
        self._words = folder / "words"
        script = folder / "paddock"  # of a host whose keys, if it has any, lie in this folder
        script.write_text((REPOSITORY / WRAPPER).read_text().replace("=/etc/paddock ", f"={folder}/etc "))
        self._argv = [shell, *(["sh"] if shell == "busybox" else []), str(script)]
        programs = folder / "programs"
        programs.mkdir()
        (programs / "docker").write_text(DOCKER)
        (programs / "docker").chmod(stat.S_IRWXU)
        self._environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PADDOCK_STATE": str(self.state),
            "WORDS": str(self._words),
            "ADDRESS": "unix:///run/user/7/docker.sock",
            "FACTS": "[name=seccomp,profile=builtin name=cgroupns] /var/lib/docker",
            "IMAGE": f"paddock/tool:{__version__}",
        }

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._argv, *map(str, arguments)],
            cwd=self.here,
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def words(self, *arguments: str | Path, **environment: str) -> list[str]:
        """What docker was asked to run."""
        done = self.run(*arguments, **environment)
        assert done.returncode == 42, done.stderr  # the status of docker is the script's own
        return self._words.read_text().splitlines()

    def mounts(self, *arguments: str | Path, **environment: str) -> set[str]:
        """The sources of what the container sees, other than the socket, the current folder and the state."""
        words = self.words(*arguments, **environment)
        mounts = csv.reader(word for word in words if word.startswith("type=bind,"))  # as docker reads them
        options = itertools.chain.from_iterable(mounts)
        sources = {text.removeprefix("source=") for text in options if text.startswith("source=")}
        always = {str(self.here), str(self.state), "/run/user/7/docker.sock"}
        assert always <= sources
        return sources - always


@pytest.fixture(params=SHELLS)
def wrapper(request: pytest.FixtureRequest, tmp_path: Path) -> Wrapper:
    return Wrapper(tmp_path, request.param)


def option(words: list[str], name: str) -> list[str]:
    return [value for flag, value in itertools.pairwise(words) if flag == name]


def test_arguments_stand_behind_the_image_as_they_were_given(wrapper: Wrapper) -> None:
    words = wrapper.words("models", "list", "--to", "two words", "it's", '"', "")
    assert words[0] == "run"
    image = words.index(f"paddock/tool:{__version__}")
    assert words[image + 1 :] == ["models", "list", "--to", "two words", "it's", '"', ""]
    assert option(words, "--workdir") == [str(wrapper.here)]
    assert wrapper.state.is_dir()


def test_it_runs_as_the_caller_with_no_more_rights_than_needed(wrapper: Wrapper) -> None:
    words = wrapper.words("render")
    assert option(words, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert set(option(words, "--group-add")) == {str(group) for group in (os.getgid(), *os.getgroups())}
    assert option(words, "--cap-drop") == ["ALL"]
    expected = ["CHOWN", "DAC_OVERRIDE", "FOWNER"] if os.getuid() == 0 else []
    assert option(words, "--cap-add") == expected
    assert option(words, "--security-opt") == ["no-new-privileges"]
    assert "--read-only" in words
    assert "--tty" not in words
    assert option(words, "--userns") == []


def test_engines_that_map_users(wrapper: Wrapper) -> None:
    """Rootless: root of the container is the caller. userns-remap: the caller's uid must be the host's."""
    rootless = wrapper.words("render", FACTS="[name=seccomp name=rootless] /home/me/.local/share/docker")
    assert option(rootless, "--user") == ["0:0"]
    remapped = wrapper.words("render", FACTS="[name=userns] /var/lib/docker/100000.100000")
    assert option(remapped, "--userns") == ["host"]
    assert option(remapped, "--user") == [f"{os.getuid()}:{os.getgid()}"]


@pytest.mark.parametrize(
    ("command", "network"),
    [
        *((name, "host") for name in ("up", "status", "smoke", "parse")),
        *((name, None) for name in ("models", "doctor")),
        *((name, "none") for name in ("render", "down", "import", "export", "verify", "receipt", "--help")),
    ],
)
def test_the_network_is_what_the_command_needs(tmp_path: Path, command: str, network: str | None) -> None:
    assert option(Wrapper(tmp_path, SHELLS[0]).words(command), "--network") == ([network] if network else [])


def test_what_the_arguments_name_is_seen_at_the_same_path(wrapper: Wrapper, tmp_path: Path) -> None:
    stick = tmp_path / "a stick, of mine"
    (stick / "bundle").mkdir(parents=True)
    (tmp_path / "key").write_text("key")
    assert wrapper.mounts("verify", "inside", wrapper.here, f"{wrapper.here}/below") == set()
    assert wrapper.mounts("import", stick / "bundle", stick / "bundle/", "--key=../key") - {"/", *ENGINE} == {
        str(stick / "bundle"),
        str(tmp_path / "key"),
    }
    assert wrapper.mounts("parse", "../key", "-o", stick / "new") == {str(stick), str(tmp_path / "key")}
    assert wrapper.mounts("parse", "https://127.0.0.1/x", "/nowhere/at/all", "/", "/etc/new", "/new") == set()


def test_folders_that_variables_name_are_seen_too(wrapper: Wrapper, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    assert wrapper.mounts("models", "list", MODELS_DIR=str(weights)) == {str(weights)}


def test_up_import_and_receipt_look_at_the_host_and_root_at_the_store_of_the_engine(wrapper: Wrapper) -> None:
    for words in (wrapper.words("up", "cpu"), wrapper.words("import", "bundle"), wrapper.words("receipt")):
        assert "type=bind,source=/,target=/host,readonly" in words
        assert "PADDOCK_HOST=/host" in option(words, "--env")
    store = {"/srv/docker store", *ENGINE} - {"/var/lib/docker"} if os.getuid() == 0 else set()
    facts = "[name=seccomp] /srv/docker store"
    assert wrapper.mounts("export", "cpu", FACTS=facts) == store
    assert (
        wrapper.mounts("import", "x", FACTS=facts) == wrapper.mounts("receipt", FACTS=facts) == {"/", *store}
    )
    assert wrapper.mounts("verify", "x", FACTS=facts) == set()


def test_what_checks_bundles_sees_the_keys_of_the_host(wrapper: Wrapper) -> None:
    """They count for every user, and only root's `trust --host` changes them."""
    assert str(wrapper.keys) not in wrapper.mounts("import", "bundle")
    assert not wrapper.keys.exists()
    writable = wrapper.words("trust", "add", "key.pub", "--host")
    mount = f"type=bind,source={wrapper.keys},target={wrapper.keys}"
    assert (mount in writable) is wrapper.keys.exists() is (os.getuid() == 0)
    wrapper.keys.mkdir(exist_ok=True)
    for command in ("import", "verify", "trust", "bundle"):
        assert f"{mount},readonly" in wrapper.words(command, "x")
    for command in ("up", "parse", "export"):
        assert str(wrapper.keys) not in wrapper.mounts(command, "x")


def test_settings_of_the_shell_reach_it_and_nothing_else_does(wrapper: Wrapper) -> None:
    given: Mapping[str, str] = {
        "API_PORT": "81",
        "VLM_MEMORY": "4g",
        "PADDOCK_URL": "http://x",
        "HF_ENDPOINT": "http://y",
        "no_proxy": "z",
        "SECRET": "s",
        "LD_PRELOAD_": "p",
    }
    passed = set(option(wrapper.words("render", **given), "--env"))
    assert {"API_PORT", "VLM_MEMORY", "PADDOCK_URL", "HF_ENDPOINT", "no_proxy"} <= passed
    assert not {"SECRET", "LD_PRELOAD_", "PATH", "HOME"} & passed
    assert "DOCKER_HOST=unix:///run/user/7/docker.sock" in passed
    assert f"PADDOCK_STATE={wrapper.state}" in passed


def test_another_image_by_the_variables_of_a_stack(wrapper: Wrapper) -> None:
    name = "harbor.example/ocr/tool:2"
    assert name in wrapper.words("render", IMAGE_PREFIX="harbor.example/ocr/", IMAGE_VERSION="2", IMAGE=name)
    assert TOOL.reference_in_stack == f"${{IMAGE_PREFIX:-paddock/}}tool:${{IMAGE_VERSION:-{__version__}}}"


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({"PATH": "/nowhere"}, 5, "docker: no such program on PATH"),
        ({"FACTS": ""}, 5, "Docker Engine at unix:///run/user/7/docker.sock: no answer: no daemon here"),
        (
            {"DOCKER_HOST": "tcp://10.0.0.1:2375"},
            5,
            "tcp://10.0.0.1:2375: found an engine on another machine",
        ),
        ({"IMAGE": "other"}, 9, f"paddock/tool:{__version__}: is not in this engine"),
        ({"PADDOCK_STATE": "/dev/null/state"}, 9, "/dev/null/state: cannot be made"),
    ],
)
def test_refusals_say_what_to_do(
    tmp_path: Path, changed: Mapping[str, str], status: int, message: str
) -> None:
    shell = shutil.which(SHELLS[0])
    assert shell
    done = Wrapper(tmp_path, shell).run("status", **changed)
    assert done.returncode == status
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "\nhint: " in done.stderr
