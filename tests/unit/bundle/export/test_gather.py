"""What a bundle is to carry, and which images do not go into one bundle."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from paddock import paths
from paddock.bundle.export.contents import Contents
from paddock.bundle.export.gather import Request, gather, stack_files
from paddock.bundle.format.revoked import REVOKED, parse_revoked
from paddock.bundle.format.signature import PublicKey, generate
from paddock.bundle.imagestore.store import EngineImage
from paddock.errors import BundleError, PreflightError, UsageError
from paddock.matrix.images import TOOL
from paddock.stack.folder import StackFolder
from repository import REPOSITORY
from stack_records import configuration, service

LAYERS = ("sha256:" + "1" * 64, "sha256:" + "2" * 64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """As much of `EngineLayers` as is asked here."""

    images: tuple[EngineImage, ...]

    def image(self, reference: str) -> EngineImage | None:
        found = (image for image in self.images if reference in (*image.references, image.id, image.id[7:19]))
        digested = (image for image in self.images if f"@{image.id}" in reference)
        return next(found, None) or next(digested, None)

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


def test_a_site_is_carried_with_its_file_and_its_choice() -> None:
    folder = StackFolder(path=REPOSITORY / "compose/cpu", name="cpu")
    plain = {file.path: file.data for file in stack_files(folder, configuration(service()))}
    assert "stack/site.yaml" not in plain
    assert b"\nCOMPOSE_FILE=" not in plain["stack/.env.example"]
    site = {
        file.path: file.data
        for file in stack_files(folder.with_site(), configuration(service(), service("door")))
    }
    assert site.keys() - plain.keys() == {"stack/site.yaml"}
    assert b"\nCOMPOSE_FILE=compose.yaml:site.yaml\n" in site["stack/.env.example"]


ID = "sha256:" + "ab" * 32
OWN = "paddock-carried:" + "ab" * 6


def named(*references: str) -> EngineImage:
    return EngineImage(id=ID, references=references, platform="linux/amd64", layers=LAYERS)


@pytest.mark.parametrize(
    ("names", "reference", "carried"),
    [
        (("a:1",), ID, "a:1"),
        (("a:1", "paddock-incoming:0123456789abcdef-0-1"), ID, "a:1"),
        (("a:1",), ID[7:19], "a:1"),
        (("a:1",), f"a@{ID}", "a:1"),
        (("a:1", "b:2"), f"host:5000/a@{ID}", ""),
        (("host:5000/a:1", "b:2"), f"host:5000/a@{ID}", "host:5000/a:1"),
        (("a:1", "b:2"), "b:2", "b:2"),
        (("a:1",), "docker.io/library/a:1", "a:1"),
        (("x/a:1",), "index.docker.io/x/a:1", "x/a:1"),
        (("a:latest",), "a", "a:latest"),
    ],
)
def test_an_image_is_carried_under_a_name_that_a_site_can_give(
    names: tuple[str, ...], reference: str, carried: str
) -> None:
    if not carried:
        with pytest.raises(UsageError, match="expected one of its names"):
            gathered([named(*names)], reference)
        return
    assert [image.reference for image in gathered([named(*names)], reference).images] == [carried]


def test_one_image_under_two_ways_to_call_it_is_carried_once() -> None:
    contents = gathered([named("a:1")], "a:1", ID, "docker.io/library/a:1", f"a@{ID}")
    assert [image.reference for image in contents.images] == ["a:1"]


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (("a:1", "b:2"), "give --image a:1 or --image b:2"),
        ((), f"name it, `docker tag {ID} {OWN}`, and give --image {OWN}"),
    ],
)
def test_an_id_of_an_image_without_one_name_is_refused_with_what_to_give(
    names: tuple[str, ...], hint: str
) -> None:
    with pytest.raises(UsageError, match="expected one of its names") as refused:
        gathered([named(*names)], ID)
    assert refused.value.hint == hint


def test_what_cannot_be_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="--image: found A:1, expected NAME:TAG"):
        gathered([], "A:1")
