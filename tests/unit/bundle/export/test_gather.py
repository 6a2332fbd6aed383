"""What a bundle is to carry, and which images do not go into one bundle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from paddock import paths
from paddock.bundle.export.contents import Contents
from paddock.bundle.export.gather import Request, gather
from paddock.bundle.format.revoked import REVOKED, parse_revoked
from paddock.bundle.format.signature import PublicKey, generate
from paddock.bundle.imagestore.store import EngineImage
from paddock.errors import BundleError, PreflightError, UsageError
from paddock.matrix.images import TOOL

LAYERS = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """As much of `EngineLayers` as is asked here."""

    images: tuple[EngineImage, ...]

    def image(self, reference: str) -> EngineImage | None:
        return next((image for image in self.images if reference in image.references), None)

    def configuration(self, image: EngineImage) -> bytes:
        return json.dumps({"rootfs": {"type": "layers", "diff_ids": image.layers}}).encode()


def image(reference: str, platform: str = "linux/amd64") -> EngineImage:
    return EngineImage(id=reference, references=(reference,), platform=platform, layers=LAYERS)


def gathered(
    images: Iterable[EngineImage],
    *references: str,
    tool_prefix: str | None = None,
    delta: bool = False,
    revoked: tuple[PublicKey, ...] = (),
) -> Contents:
    engine: Any = Engine(images=tuple(images))
    request = Request(
        whole=None, references=references, tool_prefix=tool_prefix, delta=delta, revoked=revoked
    )
    return gather(engine, request, paths.templates())


def test_nothing_to_carry_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="found neither a target nor --image"):
        gathered([])


def test_images_have_the_tag_that_engines_assume_and_come_once() -> None:
    contents = gathered([image("a:latest"), image("host:5000/b:1")], "a", "host:5000/b:1", "a:latest")
    assert [carried.reference for carried in contents.images] == ["a:latest", "host:5000/b:1"]
    assert contents.platform == "linux/amd64"
    assert contents.stack is None


def test_images_that_are_not_there_are_named_with_the_command_that_builds_them() -> None:
    with pytest.raises(PreflightError, match=r"found no image other:1$") as refused:
        gathered([image("a:1")], "a:1", "other:1")
    assert refused.value.hint == "`docker images` lists those that are there"
    with pytest.raises(PreflightError, match=r"found no image mine/tool:\S+") as refused:
        gathered([image("a:1")], "a:1", tool_prefix="mine/")
    assert refused.value.hint == "build them: `paddock build tool`"


def test_images_for_two_platforms_are_refused() -> None:
    with pytest.raises(BundleError, match="b:1 is for linux/arm64"):
        gathered([image("a:1"), image("b:1", "linux/arm64")], "a:1", "b:1")


def test_a_full_bundle_has_a_script() -> None:
    files = {file.path: file for file in gathered([image("a:1")], "a:1").files}
    script = files["load.sh"]
    assert script.executable
    assert "platform='linux/amd64'" in script.data.decode()
    assert "paddock" not in files
    for name in ("load.sh", "README.txt"):
        assert "@name@" not in files[name].data.decode()


def test_a_delta_has_no_script() -> None:
    paths_of_files = {file.path for file in gathered([image("a:1")], "a:1", delta=True).files}
    assert "README.txt" in paths_of_files
    assert "load.sh" not in paths_of_files


def test_keys_that_are_to_be_revoked_come_as_a_list() -> None:
    key = generate().public
    files = {file.path: file.data for file in gathered([image("a:1")], "a:1", revoked=(key,)).files}
    assert parse_revoked(files[REVOKED], where=REVOKED) == {key}
    assert REVOKED not in {file.path for file in gathered([image("a:1")], "a:1").files}


def test_the_wrapper_comes_with_the_tools_image() -> None:
    tool = TOOL.reference(prefix="mine/")
    contents = gathered([image("a:1"), image(tool)], "a:1", tool_prefix="mine/")
    assert [carried.reference for carried in contents.images] == ["a:1", tool]
    files = {file.path: file for file in contents.files}
    assert files["paddock"].executable
    assert b"mine/" in files["paddock"].data
