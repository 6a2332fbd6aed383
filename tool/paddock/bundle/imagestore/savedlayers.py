"""Layers out of `docker save`, for engines whose own files cannot be read.

The engine's archive is read once, as far as it is needed, while layers are asked for. Layers that come before
the one that is asked for are kept, decompressed, in a temporary folder until they are asked for.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, cast

from paddock.bundle.format.digests import digest_of
from paddock.bundle.format.libzstd import zstd
from paddock.bundle.imagestore.store import refused
from paddock.durable import writing
from paddock.engine import docker
from paddock.errors import EngineError

PIECE = 1 << 20  # bytes handled at once
_LARGEST_CONFIGURATION = 64 << 20  # bytes of a configuration that is read at all
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # magic numbers


class FileLayer:
    """A `RawLayer` whose tar is a file."""

    def __init__(self, diff_id: str, file: IO[bytes]) -> None:
        self.diff_id, self._file = diff_id, file
        self.size = file.seek(0, io.SEEK_END)

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises EngineError where the file does not have them."""
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise EngineError(
                f"layer {self.diff_id}: found {self.size} bytes, expected some up to {offset + length}"
            )
        return data

    def stream(self) -> Iterator[bytes]:
        """The whole tar from its start."""
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece


def is_compressed(blob: IO[bytes]) -> bool:
    """Whether a layer's blob is compressed. Reads from its start, and leaves it there."""
    head = blob.read(len(_ZSTD))
    blob.seek(0)
    return head.startswith((_GZIP, _ZSTD))


def decompressing(blob: IO[bytes]) -> IO[bytes]:
    """A stream of the tar in a layer's blob, which may be compressed with gzip, zstd or not at all."""
    head = blob.read(len(_ZSTD))
    source = cast(IO[bytes], io.BufferedReader(_Rewound(head, blob), PIECE))
    if head.startswith(_GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=source))
    return cast(IO[bytes], zstd.ZstdFile(source)) if head == _ZSTD else source


class _Rewound(io.RawIOBase):
    """A stream from its start again, after its first bytes, `head`, have been read."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


class _Chunks(io.RawIOBase):
    """A stream of the bytes that an iterator gives."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            try:
                self._left = next(self._chunks)
            except StopIteration:
                return 0
        data, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class SavedImage:
    """A `docker save` under way; layers are kept in a folder below `spool` until they are asked for."""

    def __init__(self, client: docker.DockerClient, image: str, spool: Path | None) -> None:
        self._image = image
        with writing(spool or Path(tempfile.gettempdir())):
            self._folder = tempfile.TemporaryDirectory(prefix="paddock-layers-", dir=spool)
        self._kept: dict[str, Path] = {}
        self._configuration = b""
        self._members = self._read(client)

    def close(self) -> None:
        """End the `docker save`, and remove what was kept."""
        self._members.close()
        self._folder.cleanup()

    @contextmanager
    def layer(self, diff_id: str) -> Iterator[FileLayer | None]:
        """A layer, whose file is removed afterwards; None where the image does not have it, or no longer."""
        self._advance(lambda: diff_id in self._kept)
        path = self._kept.pop(diff_id, None)
        if path is None:
            yield None
            return
        with path.open("rb") as file:
            path.unlink()
            yield FileLayer(diff_id, file)

    def configuration(self) -> bytes:
        """The image's configuration as the engine has it. Raises EngineError where it gives none."""
        self._advance(lambda: bool(self._configuration))
        if not self._configuration:
            raise EngineError(
                f"{self._image}: `docker save` gave no configuration", hint="load the image again"
            )
        return self._configuration

    def _advance(self, enough: Callable[[], bool]) -> None:
        """Read on until there is enough, or the archive has ended."""
        import requests  # noqa: PLC0415 - slow to import, and loaded by now, with the SDK

        while not enough():
            try:
                next(self._members)
            except StopIteration:
                return
            except (docker.errors.DockerException, requests.RequestException, tarfile.TarError) as failure:
                raise refused(failure) from failure

    def _read(self, client: docker.DockerClient) -> Generator[None]:
        """Read the archive, one file with each step."""
        with closing(_saved_files(client, self._image)) as files:
            for content, size in files:
                self._take(content, size)
                yield

    def _take(self, content: IO[bytes], size: int) -> None:
        """Keep a layer or the configuration, which are told by content: their names differ by engine."""
        head = content.read(PIECE)
        if _is_layer(head):
            self._keep(cast(IO[bytes], _Rewound(head, content)))
        elif head.startswith(b"{") and size <= _LARGEST_CONFIGURATION:
            text = head + content.read()
            if _is_configuration(text):
                self._configuration = text

    def _keep(self, blob: IO[bytes]) -> None:
        hasher = hashlib.sha256()
        folder = Path(self._folder.name)
        with writing(folder), tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            layer = decompressing(blob)
            while piece := layer.read(PIECE):
                hasher.update(piece)
                file.write(piece)
        self._kept[digest_of(hasher)] = Path(file.name)


def gives_layers(client: docker.DockerClient, image: str) -> bool:
    """Whether `docker save` gives an image's layers; containerd leaves all of them out where it lacks one."""
    with closing(_saved_files(client, image)) as files:
        return any(_is_layer(content.read(PIECE)) for content, _ in files)


def _saved_files(client: docker.DockerClient, image: str) -> Generator[tuple[IO[bytes], int]]:
    """The files in the archive of `docker save`, and their sizes."""
    chunks = cast(Generator[bytes], client.api.get_image(image, chunk_size=PIECE))
    stream = io.BufferedReader(_Chunks(chunks), PIECE)
    with closing(chunks), tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield content, member.size


def _is_layer(head: bytes) -> bool:
    is_text = head.startswith((b"{", b"[")) and head[257:262] != b"ustar"
    is_tar = len(head) >= tarfile.BLOCKSIZE and not is_text
    return is_tar or head.startswith((_GZIP, _ZSTD))


def _is_configuration(text: bytes) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return "rootfs" in value and "history" in value
