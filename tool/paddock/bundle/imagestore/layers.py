"""The layers and configurations of an engine's images, bit for bit, without running anything.

Read where they lie where this process may (root beside the engine): the classic store through tar-split's
records, the containerd store from its blobs. Otherwise through `docker save`. Either way the bytes are the
same, and whoever reads a layer compares them with its diff id.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from paddock.bundle.format.chainids import chain_ids
from paddock.bundle.format.frames import FramedBlob, walk
from paddock.bundle.format.manifest import Compression
from paddock.bundle.imagestore import store
from paddock.bundle.imagestore.savedlayers import PIECE, FileLayer, SavedImage, is_compressed, uncompressed
from paddock.bundle.imagestore.store import EngineImage, EngineStore
from paddock.bundle.imagestore.tarsplit import open_layer
from paddock.bundle.layers.carried import FramedLayer
from paddock.bundle.layers.rawlayer import RawLayer
from paddock.durable import writing
from paddock.engine import docker
from paddock.errors import BundleError, EngineError


class EngineLayers:
    """The layers of an engine; a `LayerSource`, for as long as its context lasts.

    `client` must have no time limit (`engine.connect(timeout=None)`): an engine is silent while it prepares
    `docker save`. `spool` is the folder for layers that must be uncompressed or kept meanwhile: it needs room
    for the largest one where the engine's files can be read, otherwise for an image. `compressions` says of
    blobs that came with bundles how they were made, by digest.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        *,
        spool: Path | None = None,
        compressions: Mapping[str, Compression] | None = None,
    ) -> None:
        self.client, self._spool = client, spool
        self._compressions = compressions or {}
        self.store: EngineStore = store.read(client)
        self._images: Mapping[str, EngineImage] | None = None
        self._saved: tuple[str, SavedImage] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if self._saved is not None:
            self._saved[1].close()
            self._saved = None

    @property
    def cheap(self) -> bool:
        """Whether a layer is read where it lies as it is: opening one costs nothing, and any part of it can
        be read.
        """
        return self.store.layer_records() is not None

    def holds(self, diff_id: str) -> bool:
        """Whether an image of the engine has the layer."""
        return diff_id in self._by_layer()

    @contextmanager
    def open(self, diff_id: str) -> Iterator[RawLayer]:
        """The layer. Raises BundleError when no image has it, EngineError where its bytes cannot be had."""
        image = self._by_layer().get(diff_id)
        if image is None:
            raise BundleError(f"layer {diff_id}: no image of the engine has it")
        with ExitStack() as stack:
            yield (
                self._beside(image, diff_id, stack)
                or self._of_content(image, diff_id, stack)
                or self._out_of_save(image, diff_id, stack)
            )

    def in_place(self, diff_id: str) -> bool:
        """Whether a layer that an image has is read where it lies: opening it takes no room in the spool
        folder.
        """
        blob = self._blob(self._by_layer()[diff_id], diff_id)
        return self.cheap or (blob is not None and not _must_be_unpacked(blob))

    def room(self, layers: Mapping[str, int]) -> int:
        """Bytes that the spool folder needs at most for layers that are not in place, open all at once.

        Their raw sizes by diff id.
        """
        images = {diff_id: self._by_layer()[diff_id] for diff_id in layers}
        saved = {diff_id: each.id for diff_id, each in images.items() if self._blob(each, diff_id) is None}
        own = {
            image: sum(layers[diff_id] for diff_id in saved if saved[diff_id] == image)
            for image in saved.values()
        }
        largest = max((self._size(image) - size for image, size in own.items()), default=0)
        return sum(layers.values()) + max(0, largest)  # of a saved image its other layers lie there, too

    def image(self, reference: str) -> EngineImage | None:
        """The image behind a reference; None where the engine has none."""
        return store.image(self.client, reference)

    def configuration(self, image: EngineImage) -> bytes:
        """The image's configuration, byte for byte as the engine has it."""
        path = self._configuration_file(image)
        if path is not None:
            try:
                return path.read_bytes()
            except OSError as absent:
                raise EngineError(f"{image.id}: its configuration cannot be read: {absent}") from absent
        return self._save(image).configuration()

    def _by_layer(self) -> Mapping[str, EngineImage]:
        """For each layer an image that has it."""
        if self._images is None:
            found = store.images(self.client)
            self._images = {layer: each for each in found for layer in self._readable(each)}
        return self._images

    def _readable(self, image: EngineImage) -> Iterator[str]:
        """The layers of an image but for those whose blob containerd has lost: then nobody gives it."""
        content = self.store.content()
        blobs = store.stored_blobs(content, image.id, image.layers) if content else None
        for at, diff_id in enumerate(image.layers):
            if content is None or blobs is None or store.blob_file(content, blobs.blobs[at]).is_file():
                yield diff_id

    def _configuration_file(self, image: EngineImage) -> Path | None:
        if (content := self.store.content()) is not None:
            blobs = store.stored_blobs(content, image.id, image.layers)
            return store.blob_file(content, blobs.config) if blobs else None
        if self.store.layer_records() is None:
            return None
        return (
            self.store.root
            / "image"
            / self.store.driver
            / "imagedb/content/sha256"
            / image.id.partition(":")[2]
        )

    def _beside(self, image: EngineImage, diff_id: str, stack: ExitStack) -> RawLayer | None:
        """A layer of a classic store whose files can be read; None elsewhere."""
        records = self.store.layer_records()
        if records is None:
            return None
        chain = chain_ids(image.layers)[image.layers.index(diff_id)]
        record = records / chain.partition(":")[2]
        try:
            folder = self.store.layer_folder((record / "cache-id").read_text("ascii").strip())
        except OSError:
            return None
        return stack.enter_context(open_layer(diff_id, record / "tar-split.json.gz", folder))

    def _of_content(self, image: EngineImage, diff_id: str, stack: ExitStack) -> RawLayer | None:
        """A layer from a blob of containerd's that can be read; None elsewhere, and where the blob is not
        there.
        """
        path = self._blob(image, diff_id)
        if path is None:
            return None
        digest = f"sha256:{path.name}"
        blob = stack.enter_context(path.open("rb"))
        framed = _framed(diff_id, digest, blob, self._compressions.get(digest))
        return framed or FileLayer(diff_id, stack.enter_context(_plain(blob, self._spool)))

    def _blob(self, image: EngineImage, diff_id: str) -> Path | None:
        """The file in which containerd has a layer, where it is there and can be read."""
        content = self.store.content()
        blobs = store.stored_blobs(content, image.id, image.layers) if content else None
        if content is None or blobs is None:
            return None
        path = store.blob_file(content, blobs.blobs[image.layers.index(diff_id)])
        return path if path.is_file() else None

    def _size(self, image: str) -> int:
        """What the engine says that an image takes."""
        try:
            return int(self.client.images.get(image).attrs["Size"])
        except (docker.errors.DockerException, OSError) as failure:
            raise store.refused(failure) from failure

    def _out_of_save(self, image: EngineImage, diff_id: str, stack: ExitStack) -> RawLayer:
        """A layer from a `docker save`: of the one under way if it still comes there, else of a new one."""
        for fresh in (False, True):
            layer = stack.enter_context(self._save(image, fresh=fresh).layer(diff_id))
            if layer is not None:
                return layer
        raise EngineError(
            f"layer {diff_id}: `docker save {image.id}` did not give it",
            hint="the engine lost it; load or build that image again",
        )

    def _save(self, image: EngineImage, *, fresh: bool = False) -> SavedImage:
        if self._saved is not None and (fresh or self._saved[0] != image.id):
            self._saved[1].close()
            self._saved = None
        if self._saved is None:
            self._saved = (image.id, SavedImage(self.client, image.id, self._spool))
        return self._saved[1]


def _framed(
    diff_id: str, digest: str, blob: IO[bytes], compression: Compression | None
) -> FramedLayer | None:
    """A blob of frames that say what they hold, as ours are: read in place. None for any other."""
    where = f"the blob {digest}"
    size = os.fstat(blob.fileno()).st_size

    def read_at(offset: int, length: int) -> bytes:
        return os.pread(blob.fileno(), length, offset)

    try:
        frames = tuple(walk(read_at, size, where=where))
    except BundleError:
        return None
    raw_size = sum(each.raw_size for each in frames)
    framed = FramedBlob(read_at, size=size, raw_size=raw_size, where=where, frames=frames)
    return FramedLayer(diff_id, digest, framed, compression)


def _must_be_unpacked(path: Path) -> bool:
    """Whether a blob is compressed in another way than ours, so that it cannot be read in place."""
    with path.open("rb") as blob:
        return is_compressed(blob) and _framed("", path.name, blob, None) is None


@contextmanager
def _plain(blob: IO[bytes], spool: Path | None) -> Iterator[IO[bytes]]:
    """The tar in a blob: the blob itself, or a file that is gone afterwards."""
    if not is_compressed(blob):
        yield blob
        return
    folder = spool or Path(tempfile.gettempdir())
    with writing(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
    try:
        with writing(folder):
            shutil.copyfileobj(uncompressed(blob), file, PIECE)
            file.flush()
        yield file
    finally:
        with suppress(OSError):  # what it could not write it tries again
            file.close()
