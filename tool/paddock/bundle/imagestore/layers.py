"""The layers and configurations of an engine's images, bit for bit, without running anything.

They are read where they lie if this process may do so (root on the engine's own machine): in the classic
store through tar-split's records, in the containerd store from its blobs. Otherwise they are read from
`docker save`. Either way the bytes are the same, and whoever reads a layer compares them with its diff id.
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
from paddock.bundle.imagestore.savedlayers import PIECE, FileLayer, SavedImage, decompressing, is_compressed
from paddock.bundle.imagestore.store import EngineImage, EngineStore
from paddock.bundle.imagestore.tarsplit import open_layer
from paddock.bundle.layers.carried import FramedLayer
from paddock.bundle.layers.rawlayer import RawLayer
from paddock.durable import writing
from paddock.engine import docker
from paddock.errors import BundleError, EngineError


class EngineLayers:
    """A `LayerSource` over an engine, for as long as its context lasts.

    `client` must have no time limit (`engine.connect(timeout=None)`), for an engine is silent while it
    prepares `docker save`. `spool` is a folder for layers that must be decompressed or kept meanwhile: it
    needs room for the largest layer where the engine's files can be read, otherwise for an image.
    `compressions` says how blobs that came with bundles were compressed, by digest.
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
    def reads_in_place(self) -> bool:
        """Whether every layer is read where it lies: opening one costs nothing, at any offset."""
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
                self._from_files(image, diff_id, stack)
                or self._from_blob(image, diff_id, stack)
                or self._from_save(image, diff_id, stack)
            )

    def in_place(self, diff_id: str) -> bool:
        """Whether an image's layer is read where it lies, so that opening it takes no room in `spool`."""
        if self.reads_in_place:
            return True
        blob = self._blob(self._by_layer()[diff_id], diff_id)
        return blob is not None and not _must_be_decompressed(blob)

    def room(self, layers: Mapping[str, int]) -> int:
        """Bytes that `spool` needs at most to have layers open all at once that are not in place.

        `layers` are their raw sizes by diff id.
        """
        saved: dict[str, int] = {}  # raw bytes of these layers, by the id of the image that must be saved
        for diff_id, size in layers.items():
            image = self._by_layer()[diff_id]
            if self._blob(image, diff_id) is None:
                saved[image.id] = saved.get(image.id, 0) + size
        others = max((self._size(image) - wanted for image, wanted in saved.items()), default=0)
        return sum(layers.values()) + max(0, others)  # the other layers of a saved image lie there, too

    def image(self, reference: str) -> EngineImage | None:
        """The image behind a reference; None where the engine has none."""
        return store.image(self.client, reference)

    def configuration(self, image: EngineImage) -> bytes:
        """The configuration of an image, byte for byte as the engine has it."""
        path = self._configuration_file(image)
        if path is not None:
            try:
                return path.read_bytes()
            except OSError as absent:
                raise EngineError(f"{image.id}: its configuration cannot be read: {absent}") from absent
        return self._save(image).configuration()

    def _by_layer(self) -> Mapping[str, EngineImage]:
        """The image from which each layer is read."""
        if self._images is None:
            images = store.images(self.client)
            self._images = {diff_id: image for image in images for diff_id in self._readable(image)}
        return self._images

    def _readable(self, image: EngineImage) -> Iterator[str]:
        """The layers of an image, except those whose blob containerd has lost."""
        content = self.store.content()
        stored = store.stored_blobs(content, image.id, image.layers) if content else None
        for number, diff_id in enumerate(image.layers):
            if content is None or stored is None or store.blob_file(content, stored.blobs[number]).is_file():
                yield diff_id

    def _configuration_file(self, image: EngineImage) -> Path | None:
        content = self.store.content()
        if content is not None:
            stored = store.stored_blobs(content, image.id, image.layers)
            return store.blob_file(content, stored.config) if stored else None
        if self.store.layer_records() is None:
            return None
        return self.store.configuration_file(image.id)

    def _from_files(self, image: EngineImage, diff_id: str, stack: ExitStack) -> RawLayer | None:
        """A layer of a classic store whose files can be read; None in any other case."""
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

    def _from_blob(self, image: EngineImage, diff_id: str, stack: ExitStack) -> RawLayer | None:
        """A layer of a containerd store whose blob can be read; None in any other case."""
        path = self._blob(image, diff_id)
        if path is None:
            return None
        digest = f"sha256:{path.name}"
        blob = stack.enter_context(path.open("rb"))
        framed = _framed(diff_id, digest, blob, self._compressions.get(digest))
        return framed or FileLayer(diff_id, stack.enter_context(_decompressed(blob, self._spool)))

    def _blob(self, image: EngineImage, diff_id: str) -> Path | None:
        """The file in which containerd has a layer; None where it is not there or cannot be read."""
        content = self.store.content()
        stored = store.stored_blobs(content, image.id, image.layers) if content else None
        if content is None or stored is None:
            return None
        path = store.blob_file(content, stored.blobs[image.layers.index(diff_id)])
        return path if path.is_file() else None

    def _size(self, image: str) -> int:
        """The size of an image, as the engine tells it."""
        try:
            return int(self.client.images.get(image).attrs["Size"])
        except (docker.errors.DockerException, OSError) as failure:
            raise store.refused(failure) from failure

    def _from_save(self, image: EngineImage, diff_id: str, stack: ExitStack) -> RawLayer:
        """A layer from `docker save`: from the one under way, or from a new one if that is past the layer."""
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
    """A blob of frames that declare their raw sizes, as a bundle's blobs do; None for any other blob."""
    where = f"the blob {digest}"
    size = os.fstat(blob.fileno()).st_size

    def read_at(offset: int, length: int) -> bytes:
        return os.pread(blob.fileno(), length, offset)

    try:
        frames = tuple(walk(read_at, size, where=where))
    except BundleError:
        return None
    raw_size = sum(frame.raw_size for frame in frames)
    framed = FramedBlob(read_at, size=size, raw_size=raw_size, where=where, frames=frames)
    return FramedLayer(diff_id, digest, framed, compression)


def _must_be_decompressed(path: Path) -> bool:
    """Whether a blob is compressed in a way that does not let it be read in place."""
    with path.open("rb") as blob:
        return is_compressed(blob) and _framed("", path.name, blob, None) is None


@contextmanager
def _decompressed(blob: IO[bytes], spool: Path | None) -> Iterator[IO[bytes]]:
    """The tar in a blob: the blob itself, or a temporary file."""
    if not is_compressed(blob):
        yield blob
        return
    folder = spool or Path(tempfile.gettempdir())
    with writing(folder):
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
    try:
        with writing(folder):
            shutil.copyfileobj(decompressing(blob), file, PIECE)
            file.flush()
        yield file
    finally:
        with suppress(OSError):  # closing tries again to write what could not be written
            file.close()
