"""Whether what an engine says that it loaded is really there: asked anew, and read back.

An engine can end a load in success with layers that it lost, blobs that it lacks or files that a power cut
emptied (moby issues 48293, 49784). So: the image has the layers and the platform that it should have and is
listed, containerd has every blob, and files out of a created container are what the bundle holds.
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
from paddock.bundle.layers.rawlayer import LayerSource, RawLayer
from paddock.bundle.layers.sampling import Sample, samples, visible
from paddock.bundle.site.content import MadeLayer
from paddock.bundle.site.loadplan import STAGING, complete, identity
from paddock.engine import docker
from paddock.errors import BundleError

LAYERS = 4  # of an image: its largest ones
PLACES = 2  # in a layer
FILES = 2  # at a place
_HINT = "the engine lost something; `docker image rm` what it has of it, then import again"


def prove(
    client: docker.DockerClient, store: EngineStore, manifest: Manifest, image: Image, source: LayerSource
) -> int:
    """Raise BundleError unless the engine has the image. `source` gives layers to compare with; the number of
    files that were compared.
    """
    _require_image(client, store, manifest, image)
    _require_blobs(client, store, manifest, image)
    with _container(client, identity(image, store.kind)) as container:
        return sum(
            _compare(client, container, image, layer, source) for layer in _largest(manifest, image, source)
        )


def _require_image(client: docker.DockerClient, store: EngineStore, manifest: Manifest, image: Image) -> None:
    found = image_store.image(client, identity(image, store.kind))
    if found is None or not complete(found, image, store.kind):
        had = f"{len(found.layers)} layers, {found.id}" if found else "none"
        raise BundleError(
            f"{image.reference}: found {had} in the engine, expected {len(image.layers)} layers,"
            f" {identity(image, store.kind)}",
            hint=_HINT,
        )
    if found.platform != manifest.platform:
        raise BundleError(
            f"{image.reference}: found {found.platform} in the engine, expected {manifest.platform}"
        )
    if found.id not in {each.id for each in image_store.images(client)}:
        raise BundleError(f"{image.reference}: the engine has it, but does not list it", hint=_HINT)


def _require_blobs(client: docker.DockerClient, store: EngineStore, manifest: Manifest, image: Image) -> None:
    if store.kind is not Store.CONTAINERD:
        return
    content = store.content()
    if content is None:
        if not gives_layers(client, identity(image, store.kind)):
            raise BundleError(f"{image.reference}: the engine has not all of its blobs", hint=_HINT)
        return
    for layer in (manifest.layer(each) for each in image.layers):
        path = image_store.blob_file(content, layer.digest)
        if not path.is_file() or path.stat().st_size != layer.size:
            raise BundleError(f"{image.reference}: the engine has no whole blob {layer.digest}", hint=_HINT)


def _largest(manifest: Manifest, image: Image, source: LayerSource) -> list[str]:
    """The layers that are looked into: the largest ones that can be read here."""
    known = [each for each in dict.fromkeys(image.layers) if source.holds(each)]
    return sorted(known, key=lambda each: manifest.layer(each).raw_size, reverse=True)[:LAYERS]


@contextmanager
def _container(client: docker.DockerClient, image: str) -> Iterator[str]:
    """A container that is made and not started: its files are those of the image."""
    name = f"{STAGING}-proof"
    try:
        _remove(client, name)  # of a proof that was killed
        container = str(
            client.api.create_container(image, command=["none"], name=name, network_disabled=True)["Id"]
        )
    except docker.errors.DockerException as failure:
        raise image_store.refused(failure) from failure
    try:
        yield container
    finally:
        _remove(client, container)


def _remove(client: docker.DockerClient, container: str) -> None:
    try:
        client.api.remove_container(container, force=True, v=True)
    except docker.errors.NotFound:
        pass
    except docker.errors.DockerException as failure:
        raise image_store.refused(failure) from failure


def _compare(
    client: docker.DockerClient, container: str, image: Image, layer: str, source: LayerSource
) -> int:
    with source.open(layer) as raw:
        places = 1 if isinstance(raw, MadeLayer) else PLACES
        wanted = samples(raw, places=places, each=FILES)
        wrong = [each for each in wanted if _hash(client, container, each) != each.sha256]
        at = len(image.layers) - 1 - image.layers[::-1].index(layer)
        for sample in wrong:
            with _opened(image.layers[at + 1 :], source) as above:
                if visible(sample.path, raw, above):
                    raise BundleError(
                        f"{image.reference}: /{sample.path} in the engine is not what the bundle holds",
                        hint=_HINT,
                    )
    return len(wanted) - len(wrong)


@contextmanager
def _opened(layers: Sequence[str], source: LayerSource) -> Iterator[list[RawLayer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(source.open(each)) for each in layers]


def _hash(client: docker.DockerClient, container: str, sample: Sample) -> str | None:
    """The SHA-256 of a file in a container in hex; None where there is none of that size."""
    try:
        stream, _ = client.api.get_archive(container, f"/{sample.path}")
        with tarfile.open(fileobj=BytesIO(_all(stream, sample.size + 64 * tarfile.BLOCKSIZE))) as archive:
            files = [archive.extractfile(member) for member in archive if member.isfile()]
            return hashlib.sha256(files[0].read()).hexdigest() if files and files[0] else None
    except (docker.errors.NotFound, tarfile.TarError):
        return None
    except (docker.errors.APIError, docker.errors.DockerException) as failure:
        raise image_store.refused(failure) from failure


def _all(pieces: Iterable[bytes], limit: int) -> bytes:
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) > limit:
            break
    return bytes(found)
