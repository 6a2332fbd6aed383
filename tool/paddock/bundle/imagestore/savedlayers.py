"""Layers out of `docker save`: what is left where the engine's own files cannot be read.

The engine's archive is read once, as far as it is needed, while layers are asked for. Layers that pass by
before the one that is wanted are kept, uncompressed, in files of a folder of our own until they have been
read.
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

import requests

from paddock.bundle.format.libzstd import zstd
from paddock.bundle.imagestore.store import refused
from paddock.durable import writing
from paddock.engine import docker
from paddock.errors import EngineError

PIECE = 1 << 20  # bytes handled at once
_SMALL = 64 << 20  # bytes of a configuration that is read at all
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class FileLayer:
    """A layer's tar in a file; a `RawLayer`."""

    def __init__(self, diff_id: str, file: IO[bytes]) -> None:
        self.diff_id, self._file = diff_id, file
        self.size = file.seek(0, io.SEEK_END)

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises EngineError where the file does not have them."""
        self._file.seek(offset)
        found = self._file.read(length)
        if len(found) != length:
            raise EngineError(
                f"layer {self.diff_id}: found {self.size} bytes, expected some up to {offset + length}"
            )
        return found

    def stream(self) -> Iterator[bytes]:
        """The whole tar from its start."""
        self._file.seek(0)
        while piece := self._file.read(PIECE):
            yield piece


def is_compressed(blob: IO[bytes]) -> bool:
    """Whether a layer's blob is not the tar itself. Reads from its start, and goes back there."""
    head = blob.read(len(_ZSTD))
    blob.seek(0)
    return head.startswith((_GZIP, _ZSTD))


def uncompressed(blob: IO[bytes]) -> IO[bytes]:
    """The tar in a layer's blob, whichever of the ways of keeping it was used. Reads it from its start."""
    head = blob.read(len(_ZSTD))
    source = cast(IO[bytes], io.BufferedReader(_Again(head, blob), PIECE))
    if head.startswith(_GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=source))
    return cast(IO[bytes], zstd.ZstdFile(source)) if head == _ZSTD else source


class _Again(io.RawIOBase):
    """A stream from its start, though its first bytes were read."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(found) :]
        buffer[: len(found)] = found
        return len(found)


class _Chunks(io.RawIOBase):
    """What an iterator gives, as a stream."""

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
        found, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(found)] = found
        return len(found)


class SavedImage:
    """One `docker save` under way; `spool` is where layers are kept meanwhile."""

    def __init__(self, client: docker.DockerClient, image: str, spool: Path | None) -> None:
        self._image = image
        with writing(spool or Path(tempfile.gettempdir())):
            self._folder = tempfile.TemporaryDirectory(prefix="paddock-layers-", dir=spool)
        self._kept: dict[str, Path] = {}
        self._configuration = b""
        self._members = self._read(client)

    def close(self) -> None:
        """End it, and remove what was kept."""
        self._members.close()
        self._folder.cleanup()

    @contextmanager
    def layer(self, diff_id: str) -> Iterator[FileLayer | None]:
        """A layer, whose file is gone afterwards; None when all was read and it was not there, or has gone
        before.
        """
        self._advance(lambda: diff_id in self._kept)
        path = self._kept.pop(diff_id, None)
        if path is None:
            yield None
            return
        with path.open("rb") as file:
            path.unlink()
            yield FileLayer(diff_id, file)

    def configuration(self) -> bytes:
        """The image's configuration as the engine has it. Raises EngineError when it gave none."""
        self._advance(lambda: bool(self._configuration))
        if not self._configuration:
            raise EngineError(
                f"{self._image}: `docker save` gave no configuration", hint="load the image again"
            )
        return self._configuration

    def _advance(self, enough: Callable[[], bool]) -> None:
        while not enough():
            try:
                next(self._members)
            except StopIteration:
                return
            except (docker.errors.DockerException, requests.RequestException, tarfile.TarError) as failure:
                raise refused(failure) from failure

    def _read(self, client: docker.DockerClient) -> Generator[None]:
        """Read the archive, one member with each step."""
        chunks = cast(Generator[bytes], client.api.get_image(self._image, chunk_size=PIECE))
        with (
            closing(chunks),
            tarfile.open(fileobj=io.BufferedReader(_Chunks(chunks), PIECE), mode="r|") as archive,
        ):
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    self._take(content, member.size)
                yield

    def _take(self, content: IO[bytes], size: int) -> None:
        """Keep a layer, remember the configuration, leave out the rest; by content, for names differ by
        engine.
        """
        head = content.read(PIECE)
        if _is_layer(head):
            self._keep(cast(IO[bytes], _Again(head, content)))
        elif head.startswith(b"{") and size <= _SMALL:
            self._look(head + content.read())

    def _look(self, text: bytes) -> None:
        try:
            found = json.loads(text)
        except ValueError:
            return
        if "rootfs" in found and "history" in found:
            self._configuration = text

    def _keep(self, blob: IO[bytes]) -> None:
        digest = hashlib.sha256()
        folder = Path(self._folder.name)
        with writing(folder), tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            layer = uncompressed(blob)
            while piece := layer.read(PIECE):
                digest.update(piece)
                file.write(piece)
        self._kept[f"sha256:{digest.hexdigest()}"] = Path(file.name)


def _is_layer(head: bytes) -> bool:
    text = head.startswith((b"{", b"[")) and head[257:262] != b"ustar"
    return head.startswith((_GZIP, _ZSTD)) or (len(head) >= tarfile.BLOCKSIZE and not text)


def gives_layers(client: docker.DockerClient, image: str) -> bool:
    """Whether `docker save` gives an image's layers; containerd leaves all of them out when it lacks one."""
    chunks = cast(Generator[bytes], client.api.get_image(image, chunk_size=PIECE))
    with (
        closing(chunks),
        tarfile.open(fileobj=io.BufferedReader(_Chunks(chunks), PIECE), mode="r|") as archive,
    ):
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and _is_layer(content.read(PIECE)):
                return True
    return False
