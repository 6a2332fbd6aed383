"""Sending the steps of a load plan to an engine, and reading what it answers to each of them.

`docker load` can end in success though it failed: the failure may be an object in its output, or, since
Engine 28, a mere line of text (moby pull request 48293). So its output is read, and `proof` looks at what
came of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from paddock.bundle.format import archive
from paddock.bundle.format.manifest import Image, Layer, Manifest
from paddock.bundle.imagestore import store
from paddock.bundle.imagestore.store import Store
from paddock.bundle.imagestore.tags import is_staging
from paddock.bundle.site.inventory import Inventory
from paddock.bundle.site.loadplan import StagedImage, Step, staged_image
from paddock.engine import docker
from paddock.errors import BundleError, EngineError
from paddock.report import Advance

if TYPE_CHECKING:
    import requests

_FAILED = re.compile(r"\b(error|failed|no space left)\b", re.IGNORECASE)
_LARGEST_JSON = 16 << 20  # bytes of a configuration or a manifest
_QUOTED = 500  # characters of the engine's that a message repeats
_AGAIN = "run the same command again: it goes on with what is loaded already"


class EngineRefusedError(BundleError):
    """The engine reported that it did not load a step, as when its disk is full; its name may be left."""


class Content(Protocol):
    """Where the bytes of a bundle's images come from."""

    def small(self, digest: str, limit: int) -> bytes:
        """A small blob, checked against its digest."""

    def blob(self, layer: Layer) -> Iterator[bytes]:
        """A layer's blob, in pieces."""

    def raw(self, layer: Layer) -> Iterator[bytes]:
        """A layer's tar, in pieces."""


class Loader:
    """Sends the images of one bundle to one engine. `client` must have no time limit."""

    def __init__(
        self, client: docker.DockerClient, manifest: Manifest, content: Content, inventory: Inventory
    ) -> None:
        self._client, self._manifest = client, manifest
        self._content, self._inventory = content, inventory

    def load(self, steps: Iterable[Step], advance: Advance) -> None:
        """Load the steps in their order; `advance` counts the raw bytes of layers that are sent.

        The classic store reads an archive only when it has all of it, so it is sent a step while it unpacks
        the one before. Raises BundleError when the engine did not load a step; those before it are loaded.
        """
        previous: SentStep | None = None
        for step in steps:
            try:
                previous = self.send(step, advance, previous)
            except (BundleError, EngineError):
                if previous is not None:
                    previous.finish()
                raise
        if previous is not None:
            previous.finish()

    def send(self, step: Step, advance: Advance, previous: SentStep | None) -> SentStep:
        """Send a step. Its archive is not ended before the engine has loaded the previous one."""
        staged = self._staged(step)
        name = staged.image.reference
        answer = self._post(_ending_after(self._archive(step, staged, advance), previous), name)
        sent = SentStep(self._client, step, name, answer, previous)
        if self._inventory.kind is Store.CONTAINERD or answer.status_code != HTTPStatus.OK:
            sent.finish()
        return sent

    def _staged(self, step: Step) -> StagedImage:
        image = self._manifest.images[step.number]
        config = self._content.small(image.config, _LARGEST_JSON)
        manifest = self._content.small(image.manifest, _LARGEST_JSON)
        _require_same_layers(image, self._manifest, config, manifest)
        return staged_image(self._manifest, step, config, manifest)

    def _archive(self, step: Step, staged: StagedImage, advance: Advance) -> Iterator[bytes]:
        """The archive of a step without its end; layers come first, as no store needs the rest earlier."""
        image = staged.image
        layers = {diff_id: self._manifest.layer(diff_id) for diff_id in image.layers}
        sizes = {image.manifest: len(staged.manifest)}
        small = archive.descriptions([image], self._manifest.platform, sizes, layers)
        small[archive.blob_path(image.config)] = staged.config
        small[archive.blob_path(image.manifest)] = staged.manifest
        yield from _member("oci-layout", small.pop("oci-layout"))
        for layer in step.carried:
            yield from self._layer(layer, advance)
        for name, content in small.items():
            yield from _member(name, content)

    def _layer(self, layer: Layer, advance: Advance) -> Iterator[bytes]:
        size = self._inventory.sent_size(layer)
        if self._inventory.as_blob(layer):
            pieces = self._content.blob(layer)
        else:
            pieces = _ahead(self._content.raw(layer))
        yield archive.member_header(archive.blob_path(layer.digest), size)
        yield from counted(pieces, layer, size, advance)
        yield archive.padding(size)

    def _post(self, chunks: Iterator[bytes], name: str) -> requests.Response:
        """Send an archive; returns when all of it is sent and the engine has begun to answer."""
        api = self._client.api
        with _naming(name):
            return api.post(
                f"{api.base_url}/v{api.api_version}/images/load",
                params={"quiet": "false"},
                headers={"Content-Type": "application/x-tar"},
                data=chunks,
                stream=True,
                timeout=None,
            )


class SentStep:
    """A step that was sent to the engine, and the engine's answer to it."""

    def __init__(
        self,
        client: docker.DockerClient,
        step: Step,
        name: str,
        answer: requests.Response,
        previous: SentStep | None,
    ) -> None:
        self._client, self._step, self._name, self._answer = client, step, name, answer
        self._replaced = previous._name if previous is not None and not previous._step.last else None
        self._finished = False

    def finish(self) -> None:
        """Wait until the engine has loaded the step, then remove the name of the step that it replaces.

        Raises BundleError when the engine did not load it. Later calls do nothing.
        """
        if self._finished:
            return
        self._finished = True
        answered = False
        with self._answer, _naming(self._name):
            for line in self._answer.iter_lines():
                answered = True
                _require_no_failure(line, self._name)
        if self._answer.status_code != HTTPStatus.OK:
            raise _not_loaded(self._name, f"status {self._answer.status_code}")
        if not answered:
            raise BundleError(f"{self._name}: the engine said nothing about it", hint=_AGAIN)
        if self._replaced is not None:
            remove_name(self._client, self._replaced)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn a failure of the connection to the engine into a BundleError that names the step."""
    try:
        yield
    except (docker.errors.DockerException, OSError) as failure:  # exceptions of requests are OSErrors
        raise BundleError(
            f"{name}: the engine broke off while it was being loaded: {_clipped(str(failure))}", hint=_AGAIN
        ) from failure


def remove_staging(client: docker.DockerClient, bundle: str) -> None:
    """Remove the names that the import of a bundle gave for its time; images with another name stay."""
    for image in store.images(client):
        for reference in image.references:
            if is_staging(reference, bundle):
                remove_name(client, reference)


def remove_name(client: docker.DockerClient, reference: str) -> None:
    """Remove a name, and with its last name the image, unless a container uses it."""
    try:
        client.images.remove(reference)
    except docker.errors.ImageNotFound:
        return
    except docker.errors.APIError as failure:
        raise store.refused(failure) from failure


def _ending_after(chunks: Iterator[bytes], previous: SentStep | None) -> Iterator[bytes]:
    """The archive, and its end once the previous step is loaded: until then the engine does not read it."""
    yield from chunks
    if previous is not None:
        previous.finish()
    yield archive.END


def _member(name: str, content: bytes) -> Iterator[bytes]:
    yield archive.member_header(name, len(content)) + content + archive.padding(len(content))


def _ahead(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, each but the first made in a thread of its own while the one before is sent.

    The first may take long, as when base layers are unpacked for it, and an interrupt would have to wait for
    the thread.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only some imports need it

    piece = next(pieces, None)
    with ThreadPoolExecutor(1, "next-piece") as thread:
        while piece is not None:
            following = thread.submit(next, pieces, None)
            yield piece
            piece = following.result()


def counted(pieces: Iterator[bytes], layer: Layer, size: int, advance: Advance) -> Iterator[bytes]:
    """The pieces of a layer. Raises BundleError unless they are `size` bytes; never gives more.

    `advance` is told raw bytes, whether pieces of a blob are sent or of a tar.
    """
    sent = reported = 0
    for piece in pieces:
        sent += len(piece)
        if sent > size:
            break
        yield piece
        raw = layer.raw_size * sent // size
        advance(raw - reported)
        reported = raw
    if sent != size:
        raise BundleError(f"layer {layer.diff_id}: found {sent} bytes, expected {size}")


def _require_same_layers(image: Image, manifest: Manifest, config: bytes, image_manifest: bytes) -> None:
    """The layers in an image's own descriptions must be those that bundle.json gives it."""
    try:
        of_config = tuple(json.loads(config)["rootfs"]["diff_ids"])
        described = json.loads(image_manifest)
        of_manifest = tuple(layer["digest"] for layer in described["layers"])
        described_config = described["config"]["digest"]
    except (ValueError, KeyError, TypeError) as wrong:
        raise BundleError(
            f"{image.reference}: its configuration or manifest cannot be read ({wrong!r})"
        ) from None
    expected = tuple(manifest.layer(diff_id).digest for diff_id in image.layers)
    if of_config != image.layers or of_manifest != expected or described_config != image.config:
        raise BundleError(
            f"{image.reference}: its configuration or manifest has other layers than bundle.json says"
        )


def _require_no_failure(line: bytes, name: str) -> None:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = {"stream": line.decode("utf-8", "replace")}
    if not isinstance(answer, Mapping):
        return
    if error := answer.get("error") or answer.get("message"):
        raise _not_loaded(name, str(error))
    text = str(answer.get("stream") or "")
    if _FAILED.search(text):
        raise _not_loaded(name, text)


def _not_loaded(name: str, reason: str) -> EngineRefusedError:
    hint = "repeat the import; if it fails again, see what the engine says (`journalctl --unit docker -n 50`)"
    if "no space left" in reason:
        hint = "make room on the engine's disk (`docker system df`), then repeat the import"
    return EngineRefusedError(f"{name}: the engine did not load it: {_clipped(reason)}", hint=hint)


def _clipped(text: str) -> str:
    return " ".join(text.split())[:_QUOTED]
