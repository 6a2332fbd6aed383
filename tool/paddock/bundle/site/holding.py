"""What of a bundle an engine has already, and whether it has what a delta is made on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from paddock.bundle.format.manifest import Carried, Layer, Manifest
from paddock.bundle.imagestore import store as image_store
from paddock.bundle.imagestore.savedlayers import gives_layers
from paddock.bundle.imagestore.store import EngineImage, EngineStore, Store
from paddock.bundle.layers.framewriter import COMPRESSION
from paddock.bundle.layers.rawlayer import LayerSource
from paddock.bundle.site.loadplan import Held, LoadPlan
from paddock.engine import Release, docker
from paddock.errors import BundleError

_ZSTD_SINCE = "23.0"  # moby pull request 41759


def held(
    client: docker.DockerClient, store: EngineStore, manifest: Manifest, known: Sequence[Manifest]
) -> Held:
    """What the engine has of the layers of `manifest`. `known` are bundles that were imported before.

    The classic store is asked for its images. The containerd store's blobs are looked at where they lie;
    where they cannot be seen, those of images from `known` bundles count if the engine still gives their
    layers out.
    """
    found = image_store.images(client)
    version, least = Release.of(store.version), Release.of(_ZSTD_SINCE)
    blobs: frozenset[str] = frozenset()
    if store.kind is Store.CONTAINERD:
        content = store.content()
        wanted = [*manifest.layers, *(layer for each in known for layer in each.layers)]
        blobs = _whole_files(content, wanted) if content else _of_known(client, found, known)
    return Held(
        kind=store.kind,
        chains=image_store.chains_held(found),
        blobs=blobs,
        images=frozenset(each.id for each in found),
        takes_zstd=version is None or least is None or version >= least,
    )


def require_base(manifest: Manifest, plan: LoadPlan, held: Held, sources: Sequence[LayerSource]) -> None:
    """Raise BundleError where a delta needs layers that neither the engine nor a base bundle has as they are
    needed.
    """
    if manifest.base is None or not plan.steps:
        return
    absent = [each for each in manifest.base.layers if not any(source.holds(each) for source in sources)]
    if absent:
        named = ", ".join(manifest.base.bundles) or "unknown"
        raise BundleError(
            f"bundle {manifest.id}: needs {len(absent)} of {len(manifest.base.layers)} base layers that are not here,"
            f" the first is {absent[0]}; it was made on bundle {named}",
            hint="import that bundle first, give its folder with --base, or bring a full bundle;"
            " `paddock receipt` tells the workshop what is here",
        )
    made = [layer for step in plan.steps for layer in step.carried if layer.carried is not Carried.WHOLE]
    if manifest.compression.libzstd != COMPRESSION.libzstd and any(held.as_blob(each) for each in made):
        raise BundleError(
            f"bundle {manifest.id}: the containerd store needs blobs that libzstd {manifest.compression.libzstd} makes,"
            f" here is {COMPRESSION.libzstd}",
            hint="import it with the tool of the version that wrote it, or bring a full bundle",
        )


def _whole_files(content: Path, layers: Iterable[Layer]) -> frozenset[str]:
    """The blobs of these layers that lie in a content store with their whole size."""
    return frozenset(
        each.digest for each in layers if _size(image_store.blob_file(content, each.digest)) == each.size
    )


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _of_known(
    client: docker.DockerClient, found: Collection[EngineImage], known: Iterable[Manifest]
) -> frozenset[str]:
    ids = {each.id for each in found}
    blobs: set[str] = set()
    try:
        for manifest in known:
            for image in manifest.images:
                if image.manifest in ids and gives_layers(client, image.manifest):
                    blobs.update(manifest.layer(each).digest for each in image.layers)
    except docker.errors.DockerException as failure:
        raise image_store.refused(failure) from failure
    return frozenset(blobs)
