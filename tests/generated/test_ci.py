"""Continuous integration builds the tool's image and all images of online stacks, once for each platform."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from paddock import __version__
from paddock.matrix.images import shared_image, stack_images
from paddock.matrix.load import load_shared_images
from paddock.matrix.records import Variant
from paddock.render.renderer import CI_FILES, PUBLISH_SCRIPT, Files
from paddock.render.workspace import Fault, differences, write_files
from programs import run, succeeded
from rendered import REGISTRY, RENDERER, TEMPLATES, parsed

GITHUB, GITLAB = CI_FILES
SHARED = load_shared_images(TEMPLATES)
EXPECTED = sorted(
    {
        (image.name, str(platform))
        for stack in REGISTRY.stacks()
        if stack.variant is Variant.ONLINE
        for image in stack_images(stack)
        for platform in stack.target.platforms
    }
    | {(name, str(platform)) for name, image in SHARED.items() for platform in image.platforms}
)
BUILT_FROM = {
    image.target: image.name
    for image in (
        *map(shared_image, SHARED),
        *(image for stack in REGISTRY.stacks() for image in stack_images(stack)),
    )
}


@pytest.fixture(scope="module")
def files() -> Files:
    return RENDERER.all(REGISTRY)


def read(files: Files, path: PurePosixPath) -> dict[str, Any]:
    # YAML 1.1 takes the key `on` for a truth value
    return {str(key): value for key, value in parsed(files[path]).items()}


def github(files: Files, job: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = read(files, GITHUB)["jobs"][job]["strategy"]["matrix"]["include"]
    return rows


def gitlab(files: Files, job: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = read(files, GITLAB)[job]["parallel"]["matrix"]
    return [{name.lower(): value for name, value in row.items()} for row in rows]


Matrix = Callable[[Files, str], list[dict[str, str]]]
both = pytest.mark.parametrize("matrix", [github, gitlab])


@both
def test_every_image_is_built_once_for_each_platform(files: Files, matrix: Matrix) -> None:
    rows = matrix(files, "build")
    assert sorted((row["image"], row["platform"]) for row in rows) == EXPECTED
    for target in REGISTRY.targets:
        assert any(name.startswith(f"{target}-") for name, _ in EXPECTED)
    for row in rows:
        assert BUILT_FROM[row["target"]] == row["image"]


@both
def test_every_image_is_published_with_all_its_platforms(files: Files, matrix: Matrix) -> None:
    rows = matrix(files, "publish")
    published = [(row["image"], platform) for row in rows for platform in row["platforms"].split()]
    assert sorted(published) == EXPECTED
    assert len(rows) == len({name for name, _ in EXPECTED})


@both
def test_nothing_is_emulated(files: Files, matrix: Matrix) -> None:
    """Each platform has a runner of its own architecture."""
    runners = {row["platform"]: row["runner"] for row in matrix(files, "build")}
    assert set(runners) == {platform for _, platform in EXPECTED}
    assert len(set(runners.values())) == len(runners)
    assert all(("arm" in runner) == ("arm" in platform) for platform, runner in runners.items())


def test_offline_images_are_not_built(files: Files) -> None:
    for path in CI_FILES:
        assert not re.search(r"-offline\b", files[path]), path


def test_no_right_more_than_needed(files: Files) -> None:
    workflow = read(files, GITHUB)
    assert workflow["permissions"] == {}
    jobs: Mapping[str, Any] = workflow["jobs"]
    assert jobs["build"]["permissions"] == {"contents": "read", "packages": "write"}
    assert jobs["publish"]["permissions"] == {"contents": "read", "packages": "write", "id-token": "write"}


def test_actions_are_pinned_to_commits(files: Files) -> None:
    used = re.findall(r"uses: (\S+)(.*)", files[GITHUB])
    assert len(used) >= 5
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)
        assert re.match(r" # v[0-9]+\.[0-9]+\.[0-9]+", comment)


def test_no_expression_of_github_stands_in_a_script(files: Files) -> None:
    """A name that somebody chose would be run as a command."""
    for job in read(files, GITHUB)["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")


def test_nothing_is_called_latest(files: Files) -> None:
    for path in (*CI_FILES, PUBLISH_SCRIPT):
        assert "latest" not in files[path], path
    for path in CI_FILES:
        assert f'VERSION: "{__version__}"' in files[path]


def test_missing_and_different_files_are_found_and_neighbours_are_not(files: Files, tmp_path: Path) -> None:
    write_files(files, tmp_path)
    for path in CI_FILES:
        (tmp_path / path).with_name("of-somebody-else.yml").write_text("on: push\n", "utf-8")
    assert differences(files, tmp_path) == []
    (tmp_path / GITHUB).write_text("on: push\n", "utf-8")
    (tmp_path / GITLAB).unlink()
    faults = {difference.path: difference.fault for difference in differences(files, tmp_path)}
    assert faults == {GITHUB: Fault.DIFFERENT, GITLAB: Fault.MISSING}


# --- the script ---------------------------------------------------------------------------------------------


def sets_of(script: str) -> Iterable[str]:
    """The overrides that the script hands to bake, filled as for one image."""
    names = {"prefix": "registry.example/team/", "image": "cpu-api", "platform": "linux/amd64"}
    names["cache"] = "type=registry,ref=registry.example/team/cache:cpu-api-amd64"
    for text in re.findall(r'--set "([^"]+)"', script):
        yield re.sub(r"\$(\w+)", lambda match: names[match[1]], text)


@pytest.mark.needs("docker")
def test_bake_understands_what_the_script_sets(files: Files, tmp_path: Path) -> None:
    write_files(files, tmp_path)
    overrides = [f"--set={text}" for text in sets_of(files[PUBLISH_SCRIPT])]
    assert len(overrides) == 5
    bake = ("docker", "buildx", "bake", "--print", "--file=images/docker-bake.hcl", "cpu-api")
    attests = ("--provenance=mode=max", "--sbom=true")
    printed = succeeded(run(*bake, *overrides, *attests, cwd=tmp_path))
    target = json.loads(printed)["target"]["cpu-api"]
    assert target["platforms"] == ["linux/amd64"]
    assert target["tags"] == ["registry.example/team/cpu-api"]
    assert "push-by-digest=true" in json.dumps(target["output"])
    assert "mode=max" in json.dumps(target["cache-to"])
    assert {"provenance", "sbom"} == set(re.findall(r"type=(\w+)", json.dumps(target["attest"])))


def test_a_release_has_the_version_of_its_tag(files: Files, tmp_path: Path) -> None:
    write_files(files, tmp_path)
    author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    succeeded(run("git", "init", "--quiet", tmp_path))
    succeeded(run("git", "-C", tmp_path, *author, "commit", "--quiet", "--allow-empty", "-m", "one"))
    environment = {
        "PATH": "/usr/bin:/bin",
        "IMAGE_PREFIX": "registry.example/",
        "VERSION": "0.1.0",
        "TAG": "v9.9.9",
    }
    join = ("bash", str(PUBLISH_SCRIPT), "join", "cpu-api", "linux/amd64")
    done = run(*join, cwd=tmp_path, environment=environment, inherit=False)
    assert (done.returncode, done.stderr) == (3, "error: found the tag v9.9.9, expected v0.1.0\n")
