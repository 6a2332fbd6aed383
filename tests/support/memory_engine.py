"""A Docker Engine in memory, with a classic image store: what an import asks of the SDK's client."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from docker.errors import ImageNotFound, NotFound

from paddock.bundle.format.libzstd import zstd
from small_images import digest


@dataclass(kw_only=True, slots=True)
class MemoryImage:
    """An image of the engine; `layers` are its tars."""

    id: str
    diff_ids: list[str]
    layers: list[bytes]
    names: list[str] = field(default_factory=list)


class Answer:
    """What the engine says to a load."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self.status_code, self._lines = 200, lines

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None: ...

    def iter_lines(self) -> Iterable[bytes]:
        return self._lines


class MemoryEngine:
    """Stands for the engine and for its client. `loads` are the names of the images that were loaded."""

    def __init__(self) -> None:
        self.loaded: dict[str, MemoryImage] = {}
        self.loads: list[str] = []
        self.refuses_loads = ""  # what it says instead of loading
        self.api = SimpleNamespace(
            base_url="http+docker://localhost",
            api_version="1.45",
            post=self._post,
            images=lambda **_: [{"Id": identity} for identity in self.loaded],
            tag=self._tag,
            create_container=lambda image, **_: {"Id": image},
            remove_container=self._remove_container,
            get_archive=self._get_archive,
        )
        self.images = SimpleNamespace(get=self._get, remove=self._remove)

    def close(self) -> None: ...

    def info(self) -> dict[str, Any]:
        return {
            "Driver": "overlay2",
            "DockerRootDir": "/nowhere",
            "ServerVersion": "28.5.2",
            "DriverStatus": [],
        }

    def version(self) -> dict[str, Any]:
        return {"Os": "linux", "Arch": "amd64"}

    def names(self) -> dict[str, str]:
        """The id of each named image."""
        return {name: image.id for image in self.loaded.values() for name in image.names}

    def _image(self, reference: str) -> MemoryImage:
        identity = reference if reference in self.loaded else self.names().get(reference)
        if identity is None:
            raise ImageNotFound(reference)
        return self.loaded[identity]

    def _get(self, reference: str) -> Any:
        image = self._image(reference)
        attributes = {
            "Id": image.id,
            "RepoTags": list(image.names),
            "Os": "linux",
            "Architecture": "amd64",
            "RootFS": {"Layers": image.diff_ids},
        }
        return SimpleNamespace(attrs=attributes)

    def _tag(self, reference: str, repository: str, tag: str) -> None:
        self._name(self._image(reference), f"{repository}:{tag}")

    def _name(self, image: MemoryImage, name: str) -> None:
        for other in self.loaded.values():
            if name in other.names:
                other.names.remove(name)
        image.names.append(name)

    def _remove(self, reference: str) -> None:
        image = self._image(reference)
        image.names.remove(reference)
        if not image.names:
            del self.loaded[image.id]

    def _post(self, _url: str, *, data: Iterator[bytes], **_: object) -> Answer:
        content = b"".join(data)
        if self.refuses_loads:
            return Answer([json.dumps({"error": self.refuses_loads}).encode()])
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            files = {member.name: _content(archive, member) for member in archive if member.isfile()}
        (described,) = json.loads(files["manifest.json"])
        config = files[described["Config"]]
        diff_ids = json.loads(config)["rootfs"]["diff_ids"]
        tars = {diff_id: tar for image in self.loaded.values() for diff_id, tar in image_layers(image)}
        for diff_id, path in zip(diff_ids, described["Layers"], strict=True):
            if path in files:
                tars[diff_id] = _uncompressed(files[path])
        layers = [tars[diff_id] for diff_id in diff_ids]
        assert list(map(digest, layers)) == diff_ids
        image = MemoryImage(id=digest(config), diff_ids=diff_ids, layers=layers)
        image = self.loaded.setdefault(image.id, image)
        for name in described["RepoTags"]:
            self._name(image, name)
            self.loads.append(name)
        return Answer([b'{"stream":"Loaded image"}'])

    def _remove_container(self, container: str, **_: object) -> None:
        if container not in self.loaded:
            raise NotFound(container)

    def _get_archive(self, container: str, path: str) -> tuple[Iterable[bytes], object]:
        for tar in reversed(self.loaded[container].layers):
            with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
                if path.lstrip("/") in archive.getnames():
                    data = _content(archive, archive.getmember(path.lstrip("/")))
                    return [_archive_of(path, data)], None
        raise NotFound(path)


def image_layers(image: MemoryImage) -> Iterator[tuple[str, bytes]]:
    """The tars of an image's layers with their diff ids."""
    yield from zip(image.diff_ids, image.layers, strict=True)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def _uncompressed(blob: bytes) -> bytes:
    return zstd.decompress(blob) if blob.startswith(b"\x28\xb5\x2f\xfd") else blob


def _archive_of(path: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(path.rpartition("/")[2])
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()
