"""Proof that an engine really has the images that it says it loaded: it is asked again, and files are read.

An engine can end a load in success with layers that it lost, blobs that it lacks, or files that a power cut
emptied (moby issues 48293, 49784). So the image must have its layers and platform and be listed, containerd
must have every blob, and files from a container of the image must be what the bundle holds.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO

from paddock.bundle.format.manifest import Image, Manifest
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.savedlayers import gives_layers
from paddock.bundle.imagestore.store import EngineStore, Store
from paddock.bundle.imagestore.tags import STAGING
from paddock.bundle.layers.rawlayer import LayerSource, RawLayer
from paddock.bundle.layers.sampling import Sample, is_visible, samples
from paddock.bundle.site.content import MadeLayer
from paddock.bundle.site.loadplan import identity, is_complete
from paddock.engine import docker
from paddock.errors import BundleError

LAYERS = 4  # of an image: its largest ones
WINDOWS = 2  # of a layer
FILES = 2  # in a window

_HINT = "the engine lost something; `paddock import --abandon` removes what it has, then import again"
_NAME = f"{STAGING}-proof"  # of the container
_TAR_OVERHEAD = 64 * tarfile.BLOCKSIZE  # bytes around one file in an archive, generously


def prove(
    client: docker.DockerClient, store: EngineStore, manifest: Manifest, image: Image, source: LayerSource
) -> int:
    """Raise BundleError unless the engine has the image; the number of files that were compared.

    `source` gives the layers to compare with.
    """
    _require_image(client, store, manifest, image)
    _require_blobs(client, store, manifest, image)
    with _container(client, identity(image, store.kind)) as container:
        largest = _largest_layers(manifest, image, source)
        return sum(_compare(client, container, image, diff_id, source) for diff_id in largest)


def _require_image(client: docker.DockerClient, store: EngineStore, manifest: Manifest, image: Image) -> None:
    expected = identity(image, store.kind)
    found = image_store.image(client, expected)
    if found is None or not is_complete(found, image, store.kind):
        described = f"{len(found.layers)} layers, {found.id}" if found else "none"
        raise BundleError(
            f"{image.reference}: found {described} in the engine,"
            f" expected {len(image.layers)} layers, {expected}",
            hint=_HINT,
        )
    if found.platform != manifest.platform:
        raise BundleError(
            f"{image.reference}: found {found.platform} in the engine, expected {manifest.platform}"
        )
    if found.id not in {listed.id for listed in image_store.images(client)}:
        raise BundleError(f"{image.reference}: the engine has it, but does not list it", hint=_HINT)


def _require_blobs(client: docker.DockerClient, store: EngineStore, manifest: Manifest, image: Image) -> None:
    if store.kind is not Store.CONTAINERD:
        return
    content = store.content()
    if content is None:
        if not gives_layers(client, identity(image, store.kind)):
            raise BundleError(f"{image.reference}: the engine does not have all of its blobs", hint=_HINT)
        return
    for layer in map(manifest.layer, image.layers):
        path = image_store.blob_file(content, layer.digest)
        if not path.is_file() or path.stat().st_size != layer.size:
            raise BundleError(
                f"{image.reference}: the engine does not have the whole blob {layer.digest}", hint=_HINT
            )


def _largest_layers(manifest: Manifest, image: Image, source: LayerSource) -> list[str]:
    """The layers that are looked into: the largest of those that can be read here."""
    readable = [diff_id for diff_id in dict.fromkeys(image.layers) if source.holds(diff_id)]
    readable.sort(key=lambda diff_id: manifest.layer(diff_id).raw_size, reverse=True)
    return readable[:LAYERS]


@contextmanager
def _container(client: docker.DockerClient, image: str) -> Iterator[str]:
    """A container that is created and not started: its files are those of the image."""
    remove_left_container(client)
    try:
        created = client.api.create_container(image, command=["none"], name=_NAME, network_disabled=True)
    except docker.errors.DockerException as failure:
        raise image_store.refused(failure) from failure
    container = str(created["Id"])
    try:
        yield container
    finally:
        _remove(client, container)


def remove_left_container(client: docker.DockerClient) -> None:
    """Remove the container of a proof that was killed: while it is there, its image cannot be removed."""
    _remove(client, _NAME)


def _remove(client: docker.DockerClient, container: str) -> None:
    try:
        client.api.remove_container(container, force=True, v=True)
    except docker.errors.NotFound:
        pass
    except docker.errors.DockerException as failure:
        raise image_store.refused(failure) from failure


def _compare(
    client: docker.DockerClient, container: str, image: Image, diff_id: str, source: LayerSource
) -> int:
    """Compare files of one layer; the number of files that were as they should be."""
    with source.open(diff_id) as layer:
        windows = 1 if isinstance(layer, MadeLayer) else WINDOWS
        chosen = samples(layer, windows=windows, most=FILES)
        wrong = [sample for sample in chosen if _hash(client, container, sample) != sample.sha256]
        for sample in wrong:
            with _opened(_layers_above(image, diff_id), source) as above:
                if is_visible(sample.path, layer, above):
                    raise BundleError(
                        f"{image.reference}: /{sample.path} in the engine is not what the bundle holds",
                        hint=_HINT,
                    )
    return len(chosen) - len(wrong)


def _layers_above(image: Image, diff_id: str) -> tuple[str, ...]:
    """The layers above the highest place that a layer has in the image."""
    from_the_top = image.layers[::-1].index(diff_id)
    return image.layers[len(image.layers) - from_the_top :]


@contextmanager
def _opened(layers: Sequence[str], source: LayerSource) -> Iterator[list[RawLayer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(source.open(diff_id)) for diff_id in layers]


def _hash(client: docker.DockerClient, container: str, sample: Sample) -> str | None:
    """The SHA-256 in hex of a container's file; None where there is no file of that size."""
    try:
        stream, _ = client.api.get_archive(container, f"/{sample.path}")
        data = _up_to(stream, sample.size + _TAR_OVERHEAD)
        with tarfile.open(fileobj=BytesIO(data)) as archive:
            files = [archive.extractfile(member) for member in archive if member.isfile()]
            return hashlib.sha256(files[0].read()).hexdigest() if files and files[0] else None
    except (docker.errors.NotFound, tarfile.TarError):
        return None
    except docker.errors.DockerException as failure:
        raise image_store.refused(failure) from failure


def _up_to(pieces: Iterable[bytes], limit: int) -> bytes:
    """The pieces until they are more than `limit` bytes."""
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) > limit:
            break
    return bytes(data)
