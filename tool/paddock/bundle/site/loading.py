"""Sending the steps of a load plan to an engine, and reading what it says about each of them.

`docker load` ends in success where it should not: what failed may be an object in its output, or from Engine
28 on a mere line of text (moby pull request 48293). So its words are read, and `proof` looks at what came of
it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import requests

from paddock.bundle.format import archive
from paddock.bundle.format.manifest import Image, Layer, Manifest
from paddock.bundle.imagestore import store
from paddock.bundle.imagestore.store import Store
from paddock.bundle.site.loadplan import STAGING, Held, Staged, Step, staged
from paddock.engine import docker
from paddock.errors import BundleError, EngineError
from paddock.report import Advance

_FAILED = re.compile(r"\b(error|failed|no space left)\b", re.IGNORECASE)
_LARGEST_JSON = 16 << 20  # bytes of a configuration or a manifest
_WORDS = 500  # characters of the engine's that a message repeats
_AGAIN = "run the same command again: it goes on with what is loaded already"


class EngineRefusedError(BundleError):
    """The engine said that it did not load a step, such as for a full disk. Of that step a name may be left."""


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

    def __init__(self, client: docker.DockerClient, manifest: Manifest, content: Content, held: Held) -> None:
        self._client, self._manifest, self._content, self._held = client, manifest, content, held

    def load(self, steps: Iterable[Step], advance: Advance) -> None:
        """Do the steps in their order; `advance` counts the raw bytes of layers that are sent.

        The classic store, which reads an archive when it has all of it, is sent a step while it unpacks the
        one before. Raises BundleError when the engine did not do a step; those before it are done.
        """
        before: _Sent | None = None
        for step in steps:
            try:
                before = self._sent(step, advance, before)
            except (BundleError, EngineError):
                if before is not None:
                    before.finish()
                raise
        if before is not None:
            before.finish()

    def _sent(self, step: Step, advance: Advance, before: _Sent | None) -> _Sent:
        """Send a step, whose archive ends when the engine has the one before."""
        made = self._staged(step)
        name = made.image.reference
        answer = self._post(_ending_after(self._archive(step, made, advance), before), name)
        sent = _Sent(self._client, step, name, answer, before)
        if self._held.kind is Store.CONTAINERD or answer.status_code != requests.codes.ok:
            sent.finish()
        return sent

    def _staged(self, step: Step) -> Staged:
        image = self._manifest.images[step.number]
        config, manifest = (
            self._content.small(each, _LARGEST_JSON) for each in (image.config, image.manifest)
        )
        _require_same_layers(image, self._manifest, config, manifest)
        return staged(self._manifest, step, config, manifest)

    def _archive(self, step: Step, made: Staged, advance: Advance) -> Iterator[bytes]:
        """The archive of a step without its end; layers first, as no store needs the rest before them."""
        layers = {each: self._manifest.layer(each) for each in made.image.layers}
        sizes = {made.image.manifest: len(made.manifest)}
        small = archive.descriptions([made.image], self._manifest.platform, sizes, layers)
        small |= {archive.blob_path(made.image.config): made.config}
        small |= {archive.blob_path(made.image.manifest): made.manifest}
        yield from _member("oci-layout", small.pop("oci-layout"))
        for layer in step.carried:
            size = self._held.sent(layer)
            yield archive.member_header(archive.blob_path(layer.digest), size)
            pieces = (
                self._content.blob(layer) if self._held.as_blob(layer) else _ahead(self._content.raw(layer))
            )
            yield from _counted(pieces, layer, size, advance)
            yield archive.padding(size)
        for name, content in small.items():
            yield from _member(name, content)

    def _post(self, chunks: Iterator[bytes], name: str) -> requests.Response:
        """Send an archive. The engine answers from its first layer on, when it has all of it."""
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


class _Sent:
    """A step that the engine has been sent, and what it answers until the step is done."""

    def __init__(
        self,
        client: docker.DockerClient,
        step: Step,
        name: str,
        answer: requests.Response,
        before: _Sent | None,
    ) -> None:
        self._client, self._step, self._name, self._answer = client, step, name, answer
        self._replaced = before._name if before is not None and not before._step.last else None
        self._finished = False

    def finish(self) -> None:
        """Wait until the engine has the step, then take the name of the one before it away. Later calls do
        nothing.

        Raises BundleError when the engine did not do the step.
        """
        if self._finished:
            return
        self._finished = True
        said = False
        with self._answer, _naming(self._name):
            for line in self._answer.iter_lines():
                said = True
                _require_no_failure(line, self._name)
        if self._answer.status_code != requests.codes.ok:
            raise _not_loaded(self._name, f"status {self._answer.status_code}")
        if not said:
            raise BundleError(f"{self._name}: the engine said nothing about it", hint=_AGAIN)
        if self._replaced is not None:
            remove_name(self._client, self._replaced)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say of which step it was that the engine broke off."""
    try:
        yield
    except (docker.errors.DockerException, requests.RequestException, OSError) as failure:
        raise BundleError(
            f"{name}: the engine broke off while it was being loaded: {_clipped(str(failure))}", hint=_AGAIN
        ) from failure


def remove_staging(client: docker.DockerClient, bundle: str = "") -> None:
    """Take away the names that imports gave (of one bundle, or of all); images that have another name stay."""
    for each in store.images(client):
        for reference in each.references:
            if reference.startswith(f"{STAGING}:{bundle}"):
                remove_name(client, reference)


def remove_name(client: docker.DockerClient, reference: str) -> None:
    """Take a name away, and the image with its last one, unless a container uses it."""
    try:
        client.images.remove(reference)
    except docker.errors.ImageNotFound:
        return
    except docker.errors.APIError as failure:
        raise store.refused(failure) from failure


def _ending_after(chunks: Iterator[bytes], before: _Sent | None) -> Iterator[bytes]:
    """The archive, and its end when the engine has done the step before: it reads none that has not ended."""
    yield from chunks
    if before is not None:
        before.finish()
    yield archive.END


def _member(name: str, content: bytes) -> Iterator[bytes]:
    yield archive.member_header(name, len(content)) + content + archive.padding(len(content))


def _ahead(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, each but the first made in a thread of its own while the one before is sent.

    The first may take long, as where base layers are unpacked for it, and an interrupt would wait for the
    thread.
    """
    piece = next(pieces, None)
    with ThreadPoolExecutor(1, "next-piece") as thread:
        while piece is not None:
            following = thread.submit(next, pieces, None)
            yield piece
            piece = following.result()


def _counted(pieces: Iterator[bytes], layer: Layer, size: int, advance: Advance) -> Iterator[bytes]:
    """The pieces, as long as they are no more than was said; `advance` is told in raw bytes, whatever is
    sent.
    """
    sent = told = 0
    for piece in pieces:
        sent += len(piece)
        if sent > size:
            break
        yield piece
        now = layer.raw_size * sent // size
        advance(now - told)
        told = now
    if sent != size:
        raise BundleError(f"the layer {layer.diff_id}: found {sent} bytes, expected {size}")


def _require_same_layers(image: Image, manifest: Manifest, config: bytes, image_manifest: bytes) -> None:
    """The bundle's root says which layers an image has; its own descriptions must not say otherwise."""
    try:
        of_config = tuple(json.loads(config)["rootfs"]["diff_ids"])
        described = json.loads(image_manifest)
        of_manifest = tuple(each["digest"] for each in described["layers"])
        named = described["config"]["digest"]
    except (ValueError, KeyError, TypeError) as wrong:
        raise BundleError(
            f"{image.reference}: its configuration or manifest cannot be read ({wrong!r})"
        ) from None
    expected = tuple(manifest.layer(each).digest for each in image.layers)
    if of_config != image.layers or of_manifest != expected or named != image.config:
        raise BundleError(
            f"{image.reference}: its configuration or manifest has other layers than bundle.json says"
        )


def _require_no_failure(line: bytes, name: str) -> None:
    try:
        said = json.loads(line)
    except ValueError:
        said = {"stream": line.decode("utf-8", "replace")}
    if not isinstance(said, Mapping):
        return
    if error := said.get("error") or said.get("message"):
        raise _not_loaded(name, str(error))
    text = str(said.get("stream") or "")
    if _FAILED.search(text):
        raise _not_loaded(name, text)


def _not_loaded(name: str, reason: str) -> EngineRefusedError:
    hint = "`paddock verify` checks the bundle, the engine's log may say more; then repeat the import"
    if "no space left" in reason:
        hint = "make room on the engine's disk (`docker system df`), then repeat the import"
    return EngineRefusedError(f"{name}: the engine did not load it: {_clipped(reason)}", hint=hint)


def _clipped(text: str) -> str:
    return " ".join(text.split())[:_WORDS]
